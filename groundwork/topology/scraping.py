"""Which addresses metrics are collected from, and which are looked at from the outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from groundwork.inventory import Inventory
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ExternalService, NatsService, PostgresqlService
from groundwork.topology.model import Process, ScrapeTarget, ServiceNode, Site

EXPORTER_PORTS = {"node": 9100, "redis": 9121, "postgresql": 9187, "blackbox": 9115, "services": 9113}
"""Usual ports of the exporters (Prometheus wiki, default port allocations); that of ``services`` is nginx's."""
NGINX_STATUS_PORT = 9112
"""Where a host's nginx shows its figures to this host alone."""
POOL_READER = "exporter"
"""Whom PgBouncer shows its figures to: who has the exporters' certificate."""
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


@dataclass(frozen=True, order=True)
class Figures:
    """What the exporter of a host's services shows at one path."""

    job: str
    """``nginx``, ``pgbouncer`` or ``nats``."""
    host: str
    address: str
    """Of the host."""
    port: int
    """Where the service is asked for them."""
    service: str = ""
    index: int = 0

    @property
    def path(self) -> str:
        """Path at the exporter."""
        return f"/{self.job}/{self.service}-{self.index}" if self.service else f"/{self.job}"


def list_figures(platform: Platform, nodes: Iterable[ServiceNode], sites: Iterable[Site]) -> list[Figures]:
    """Return what has no exporter of its own in Debian 12 and 13 that asks for client certificates."""
    found: dict[Figures, None] = {}
    for node in nodes:
        service = platform.services[node.service]
        if isinstance(service, NatsService):
            port = service.monitoring_port
            found[Figures("nats", node.host, node.address, port, node.service, node.index)] = None
        elif isinstance(service, PostgresqlService) and service.pgbouncer and node.role == "primary":
            port = service.pgbouncer.port
            found[Figures("pgbouncer", node.host, node.address, port, node.service, node.index)] = None
    found |= dict.fromkeys(Figures("nginx", site.host, site.address, NGINX_STATUS_PORT) for site in sites)
    return sorted(found)


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
    sites = tuple(sites)
    figures = list_figures(platform, nodes, sites)
    for place in dict.fromkeys((one.host, one.address) for one in figures):
        yield ScrapeTarget("services", *place, EXPORTER_PORTS["services"], "/metrics")
    for one in figures:
        labels = (("server", str(one.index)), ("service", one.service)) if one.service else ()
        yield ScrapeTarget(one.job, one.host, one.address, EXPORTER_PORTS["services"], one.path, labels)
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
