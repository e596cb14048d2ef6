"""Which addresses metrics are collected from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from groundwork.inventory import Inventory
from groundwork.manifest.platform import Platform
from groundwork.topology.model import Process, ScrapeTarget, ServiceNode

EXPORTER_PORTS = {"node": 9100, "redis": 9121, "postgresql": 9187, "nats": 7777, "nginx": 9113, "gpu": 9400}
"""Usual ports of the exporters (Prometheus wiki, default port allocations)."""


def list_scrape_targets(
    platform: Platform, inventory: Inventory, processes: Iterable[Process], nodes: Iterable[ServiceNode]
) -> Iterator[ScrapeTarget]:
    """Yield the targets: every agent with metrics and, where Prometheus is declared, every exporter."""
    for process in processes:
        for agent in process.agents:
            if agent.port is not None and agent.metrics_path:
                labels = (("agent", agent.agent), ("group", agent.group), ("replica", str(agent.replica)))
                yield ScrapeTarget("agent", agent.host, agent.address, agent.port, agent.metrics_path, labels)
    if platform.observability.prometheus is None:
        return
    exposed = {host.name for site in platform.exposure.values() for host in inventory.group(site.hosts)}
    gpu_hosts = {h.name for g, machine in platform.machines.items() if machine.gpus for h in inventory.group(g)}
    nodes = tuple(nodes)
    for host in inventory.hosts:
        exporters = {"node": True, "nginx": host.name in exposed, "gpu": host.name in gpu_hosts}
        exporters |= {node.kind: True for node in nodes if node.host == host.name}
        for job, present in exporters.items():
            if present and job in EXPORTER_PORTS:
                yield ScrapeTarget(job, host.name, host.address, EXPORTER_PORTS[job], "/metrics")
