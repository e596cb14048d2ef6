"""What is checked of the log host before journals are collected there."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.preflight.network import PortUse
from groundwork.site import Site
from roles.logs import plan


def list_ports(site: Site, host: str) -> Iterator[PortUse]:
    """The port at which journals are taken."""
    store = plan.plan_store(site.platform, site.topology, host)
    declared = site.platform.observability.logs
    if store and declared:
        yield PortUse(declared.port, (store.unit,), "journals", site.topology.inventory.host(host).address)
