"""Which vendors' repositories a host needs, decided without looking at it."""

from __future__ import annotations

from dataclasses import dataclass

from groundwork.artifacts.lock import ArtifactLock, Repository
from groundwork.artifacts.store import repositories_of
from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import Item
from groundwork.topology.model import Topology
from groundwork.topology.vendor_parts import list_vendor_packages

ROLE = "artifacts"


@dataclass(frozen=True)
class VendorSource:
    """One repository on a host, with the packages that it takes from there."""

    name: str
    declared: Repository
    packages: tuple[str, ...]

    @property
    def preferences(self) -> str:
        """Path of the priorities; apt wants no dot in the name."""
        return f"/etc/apt/preferences.d/groundwork-{self.name}"

    @property
    def key(self) -> str:
        """Path of the vendor's key."""
        return f"/etc/apt/keyrings/groundwork-{self.name}.asc"


def plan_sources(platform: Platform, topology: Topology, lock: ArtifactLock, host: str) -> list[VendorSource]:
    """Return the repositories of one host. Raises ProblemError for a package that no repository has."""
    packages = [one.package for one in list_vendor_packages(platform, topology, host)]
    found = repositories_of(lock, packages)
    return [
        VendorSource(name, declared, tuple(sorted(set(packages) & set(declared.packages))))
        for name, declared in sorted(found.items())
    ]


def list_items(sources: list[VendorSource], paths: dict[str, str], offline: bool) -> list[Item]:
    """What is removed when it is no longer declared, the source before what it needs; no package."""
    items = []
    for one in sources:
        names = [one.preferences] if offline else [one.preferences, one.key, paths[one.name]]
        items += [Item("file", name) for name in names]
    return items
