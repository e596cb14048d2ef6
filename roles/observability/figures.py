"""What the exporter of services shows on a host, and what it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from groundwork.authority import paths as authority
from groundwork.manifest.platform import Platform
from groundwork.topology.identities import EXPORTER
from groundwork.topology.model import Topology
from groundwork.topology.scraping import EXPORTER_PORTS, POOL_READER, Figures, list_figures
from roles.observability import paths

MODULES = Path(__file__).parent / "onhost" / "exporter"


def list_own_figures(platform: Platform, topology: Topology, host: str) -> list[Figures]:
    """What of one host the exporter of services shows."""
    return [one for one in list_figures(platform, topology.nodes, topology.sites) if one.host == host]


def make_figures(platform: Platform, topology: Topology, host: str) -> dict[str, Any]:
    """The settings of the exporter of services."""
    name = platform.platform
    targets: dict[str, dict[str, Any]] = {}
    for one in list_own_figures(platform, topology, host):
        # The others show theirs to this host alone, without TLS.
        address = one.address if one.job == "pgbouncer" else "127.0.0.1"
        user = {"user": POOL_READER} if one.job == "pgbouncer" else {}
        targets[one.path] = {"kind": one.job, "address": address, "port": one.port, **user}
    return {
        "address": topology.inventory.host(host).address,
        "port": EXPORTER_PORTS["services"],
        "identity": {
            "authority": authority.bundle(name),
            "certificate": authority.certificate(name, EXPORTER),
            "key": authority.key(name, EXPORTER),
        },
        "targets": targets,
    }


def list_modules(platform: str) -> dict[str, Path]:
    """Where each module of the exporter of services lies on a host, and here."""
    folder = f"{paths.libraries(platform)}/{paths.EXPORTER}"
    return {f"{folder}/{source.name}": source for source in sorted(MODULES.glob("*.py"))}
