"""The hosts of an environment, as pyinfra's inventory declares them, in a form without pyinfra."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from groundwork.addresses import is_address
from groundwork.problems import Problem, ProblemError


@dataclass(frozen=True)
class InventoryHost:
    """One host: its name, the address other hosts reach it by, its groups, and its plain data."""

    name: str
    address: str
    groups: frozenset[str] = frozenset()
    data: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)


@dataclass(frozen=True)
class Inventory:
    """All hosts of an environment."""

    hosts: tuple[InventoryHost, ...]
    file: str = ""

    def group(self, name: str) -> tuple[InventoryHost, ...]:
        """Return the hosts of a group, in the inventory's order."""
        return tuple(host for host in self.hosts if name in host.groups)

    @property
    def groups(self) -> frozenset[str]:
        """Names of all groups that have hosts."""
        return frozenset(name for host in self.hosts for name in host.groups)

    def host(self, name: str) -> InventoryHost:
        """Return one host by name. Raises KeyError."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)


def make_inventory(hosts: Mapping[str, tuple[frozenset[str], Mapping[str, Any]]], file: str) -> Inventory:
    """Build an Inventory from names with their groups and data.

    A host's address is its datum ``address``, else ``ssh_hostname``, else its name. Raises ProblemError
    when there are no hosts, or when two hosts share an address.
    """
    if not hosts:
        raise ProblemError([Problem("the inventory has no hosts", file, allowed="at least one host in a group")])
    built: list[InventoryHost] = []
    problems: list[Problem] = []
    owners: dict[str, str] = {}
    for name, (groups, data) in hosts.items():
        address = str(data.get("address") or data.get("ssh_hostname") or name.removeprefix("@ssh/"))
        other = owners.setdefault(address, name)
        if other != name:
            problems.append(Problem(f"has the same address as {other}", file, key=name, given=address))
        if "address" in data and not is_address(address):
            problems.append(Problem("address is not an IP address", file, key=name, given=address))
        built.append(InventoryHost(name, address, groups, data))
    if problems:
        raise ProblemError(problems)
    return Inventory(tuple(built), file)
