"""Which addresses metrics are collected from, and which are looked at from the outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from groundwork.inventory import Inventory
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ExternalService
from groundwork.topology.model import Process, ScrapeTarget, ServiceNode, Site

EXPORTER_PORTS = {"node": 9100, "redis": 9121, "postgresql": 9187, "blackbox": 9115}
"""Usual ports of the exporters (Prometheus wiki, default port allocations)."""
Labels = tuple[tuple[str, str], ...]
PROBE = "probe"
"""Job of what is looked at from Prometheus's hosts as a client would."""


def list_exporters(nodes: Iterable[ServiceNode]) -> dict[ServiceNode, int]:
    """Return the servers that have an exporter, each with its port: counted up on each host, for each kind."""
    ports: dict[ServiceNode, int] = {}
    used: Counter[tuple[str, str]] = Counter()
    for node in sorted(nodes):
        if node.kind in ("redis", "postgresql"):
            ports[node] = EXPORTER_PORTS[node.kind] + used[node.host, node.kind]
            used[node.host, node.kind] += 1
    return ports


def list_scrape_targets(
    platform: Platform,
    inventory: Inventory,
    processes: Iterable[Process],
    nodes: Iterable[ServiceNode],
    sites: Iterable[Site],
) -> Iterator[ScrapeTarget]:
    """Yield the targets: every agent with metrics and, where Prometheus is declared, every exporter and probe."""
    for process in processes:
        for agent in process.agents:
            if agent.port is not None and agent.metrics_path:
                labels: Labels = (("agent", agent.agent), ("group", agent.group), ("replica", str(agent.replica)))
                yield ScrapeTarget("agent", agent.host, agent.address, agent.port, agent.metrics_path, labels)
    prometheus, alertmanager = platform.observability.prometheus, platform.observability.alertmanager
    if prometheus is None:
        return
    nodes = tuple(nodes)
    for host in inventory.hosts:
        yield ScrapeTarget("node", host.name, host.address, EXPORTER_PORTS["node"], "/metrics")
    for node, port in list_exporters(nodes).items():
        labels = (("server", str(node.index)), ("service", node.service))
        yield ScrapeTarget(node.kind, node.host, node.address, port, "/metrics", labels)
    for host in inventory.group(prometheus.hosts):
        yield ScrapeTarget("prometheus", host.name, host.address, prometheus.port, "/metrics")
        yield ScrapeTarget("blackbox", host.name, host.address, EXPORTER_PORTS["blackbox"], "/metrics")
    for host in inventory.group(alertmanager.hosts) if alertmanager else ():
        port = alertmanager.port if alertmanager else 0
        yield ScrapeTarget("alertmanager", host.name, host.address, port, "/metrics")
    yield from _list_probes(platform, nodes, sites)


def _list_probes(platform: Platform, nodes: Iterable[ServiceNode], sites: Iterable[Site]) -> Iterator[ScrapeTarget]:
    """What no exporter of Debian's looks after: NATS, services outside, and sites as their clients see them."""
    for node in nodes:
        if node.kind == "nats":
            labels: Labels = (("module", "nats"), ("server", str(node.index)), ("service", node.service))
            yield ScrapeTarget(PROBE, node.host, node.address, node.port, "", labels)
    groups = platform.groups.values()
    needs = [need for group in groups for need in group.needs]
    needs += [need for group in groups for agent in group.agents.values() for need in agent.needs]
    required = {need.name for need in needs if need.required}
    for name, service in platform.services.items():
        if isinstance(service, ExternalService) and service.protocol == "tcp":
            labels = (("module", "tcp"), ("service", name))
            # What nobody counts on may be away: it is looked at, and nobody is called.
            labels += () if name in required else (("required", "false"),)
            yield ScrapeTarget(PROBE, "", service.address, service.port, "", labels)
    for site in sites:
        labels = (("exposure", site.exposure), ("module", f"site_{site.exposure}"))
        yield ScrapeTarget(PROBE, site.host, site.address, site.port, "", labels)
