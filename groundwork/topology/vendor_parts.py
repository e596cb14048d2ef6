"""Which packages a host takes from vendors: what follows from its servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ConsulService
from groundwork.topology.model import Topology

PACKAGES_OF_KIND: Mapping[str, tuple[str, ...]] = {"consul": ("consul",)}
"""Packages that servers of a kind need and Debian does not ship."""


@dataclass(frozen=True, order=True)
class VendorPackage:
    """A package from its vendor; ``version`` is empty where any will do."""

    package: str
    version: str = ""


def list_vendor_packages(platform: Platform, topology: Topology, host: str) -> tuple[VendorPackage, ...]:
    """Return the vendor packages of one host, each once."""
    found: dict[VendorPackage, None] = {}
    for node in topology.nodes_on(host):
        service = platform.services[node.service]
        version = (service.version or "") if isinstance(service, ConsulService) else ""
        found |= dict.fromkeys(VendorPackage(name, version) for name in PACKAGES_OF_KIND.get(node.kind, ()))
    return tuple(found)
