"""Which hosts a check runs on."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.roles import roles_on

ROLES = Path(__file__).resolve().parents[2] / "roles"
"""The roles are the product's; a project (GROUNDWORK_ROOT) brings inventories, manifests and deploys."""


def role_of(definition: Any, module: ModuleType) -> str:
    """The role a test is about: its marker ``role``, else what follows ``test_`` in its module's name."""
    marker = definition.get_closest_marker("role")
    if marker is not None and marker.args:
        return str(marker.args[0])
    return module.__name__.rsplit(".", 1)[-1].removeprefix("test_")


def select_hosts(site: Site, role: str, limit: Sequence[str] = ()) -> list[str]:
    """Names of the hosts that have ``role`` and are within the limit, in the inventory's order.

    Every host has a role that is none (no folder ``roles/<role>``): such checks concern all hosts.

    Raises:
        ProblemError: the limit names a host or group that does not exist.
    """
    allowed = _within(site, limit)
    if not role or not (ROLES / role).is_dir():
        return allowed
    return [name for name in allowed if role in roles_on(site.topology, name)]


def _within(site: Site, limit: Sequence[str]) -> list[str]:
    if not limit:
        return [host.name for host in site.inventory.hosts]
    chosen: set[str] = set()
    problems: list[Problem] = []
    for pattern in limit:
        matched = {host.name for host in site.inventory.group(pattern)} or {
            host.name for host in site.inventory.hosts if fnmatch(host.name, pattern)
        }
        if not matched:
            known = sorted({host.name for host in site.inventory.hosts} | site.inventory.groups)
            problems.append(
                Problem("no host or group of that name", key="--limit", given=pattern, allowed=", ".join(known))
            )
        chosen |= matched
    if problems:
        raise ProblemError(problems)
    return [host.name for host in site.inventory.hosts if host.name in chosen]
