"""The lab's inventory: what `up` writes down and what `inventories/lab.py` reads."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from pyinfra.api.exceptions import InventoryError

from groundwork.lab.boot import USER
from groundwork.lab.state import LabSpec, LabState, current_name
from groundwork.problems import Problem, ProblemError


class NoLabError(ProblemError, InventoryError):
    """There is no such lab. Plain pyinfra prints its own errors as one line, our commands print problems."""


HostEntry = tuple[str, dict[str, Any]]


def build_inventory(state: LabState, spec: LabSpec) -> dict[str, Any]:
    """Return the inventory's data: the lab's name, and each host with its groups and pyinfra's host data."""
    # This machine: the first address of the lab's network is its own.
    gateway = str(IPv4Network(spec.subnet).network_address + 1)
    common = {
        "ssh_user": USER,
        "ssh_key": str(state.key_file),
        "ssh_known_hosts_file": str(state.known_hosts_file),
        "ssh_strict_host_key_checking": "yes",
        "environment": "lab",
        "platform": spec.platform,
        "release": spec.release,
        "controllers": [gateway],
        "secrets_folder": str(state.secrets_folder),
        "secrets_key": str(state.secrets_key),
        "state_folder": str(state.folder / "state"),
        "_sudo": True,
    }
    hosts = [
        {
            "name": host.name,
            "groups": list(host.groups),
            "data": {"ssh_hostname": host.address, "address": host.address, **common},
        }
        for host in spec.hosts
    ]
    return {"lab": spec.name, "hosts": hosts}


def load_groups(name: str | None = None, root: Path | None = None) -> dict[str, list[HostEntry]]:
    """Return each inventory group's hosts, as pyinfra wants them: ``(name, host data)``.

    ``name`` is the lab's name (by default from ``GROUNDWORK_LAB``). Raises NoLabError.
    """
    state = LabState(name or current_name(), root)
    data = state.read_inventory()
    if data is None:
        option = "" if state.name == "default" else f" --name {state.name}"
        raise NoLabError([Problem(f"no lab named {state.name}: ./gw lab up{option}")])
    groups: dict[str, list[HostEntry]] = {}
    for host in data["hosts"]:
        for group in host["groups"]:
            groups.setdefault(group, []).append((host["name"], host["data"]))
    return groups
