"""The network flows: exactly those that follow from needs, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from groundwork.inventory import Inventory
from groundwork.manifest.agents import Need
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ConsulService, NatsService, PostgresqlService, RedisService
from groundwork.topology import archives
from groundwork.topology.backups import CLIENT, place_jobs
from groundwork.topology.identities import JOURNAL_UPLOAD, find_journal_store
from groundwork.topology.model import Endpoint, Flow, Process, ScrapeTarget, ServiceNode, Site

REDIS_BUS_OFFSET = 10_000
"""A Redis cluster node's bus listens on its port plus this (redis.io, cluster specification)."""


def needs_of(platform: Platform, process: Process) -> dict[str, Need]:
    """Return what one process needs, by name: its group's needs and those of the agents in it."""
    group = platform.groups[process.group]
    needs = {need.name: need for need in group.needs}
    for instance in process.agents:
        for need in group.agents[instance.agent].needs:
            needs.setdefault(need.name, need)
    return needs


def list_flows(
    platform: Platform,
    inventory: Inventory,
    processes: Iterable[Process],
    nodes: Iterable[ServiceNode],
    sites: Iterable[Site],
    endpoints: Iterable[Endpoint],
    scrape_targets: Iterable[ScrapeTarget],
) -> Iterator[Flow]:
    """Yield every flow once."""
    reachable: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        reachable.setdefault(endpoint.name, []).append(endpoint)
    nodes, processes = tuple(nodes), tuple(processes)
    yield from _agent_flows(platform, processes, reachable)
    yield from _service_flows(platform, nodes)
    yield from _site_flows(platform, sites, reachable)
    yield from _opening_flows(platform, inventory)
    yield from _watching_flows(platform, inventory, tuple(scrape_targets))
    yield from _journal_flows(platform, inventory)
    yield from _tracing_flows(platform, inventory, processes)
    yield from _backup_flows(platform, inventory, nodes)
    yield from _archive_flows(platform, inventory, nodes)


def _backup_flows(platform: Platform, inventory: Inventory, nodes: tuple[ServiceNode, ...]) -> Iterator[Flow]:
    """From every host with something to back up to the hosts that keep it."""
    ways = {
        (job.host, one.host, one.address, one.port)
        for job in place_jobs(platform, inventory, nodes)
        for one in job.repositories
        if one.kind == "host"
    }
    for source, host, address, port in sorted(ways):
        yield Flow(source, CLIENT, host, address, port, "tcp", "hands its backups over")


def _archive_flows(platform: Platform, inventory: Inventory, nodes: tuple[ServiceNode, ...]) -> Iterator[Flow]:
    """PostgreSQL hands its log over and is restored from there; who keeps it comes for the backups."""
    for one in archives.place_archives(platform, inventory, nodes):
        if one.is_remote:
            database, address, unit = one.database.host, one.database_address, f"{one.service}-{one.database.index}"
            reason = f"{one.service} archives its log"
            yield Flow(database, unit, one.keeper, one.keeper_address, archives.PORT, "tcp", reason)
            yield Flow(one.keeper, archives.KEEPER, database, address, archives.PORT, "tcp", f"backs {one.service} up")


def _watching_flows(
    platform: Platform, inventory: Inventory, scrape_targets: tuple[ScrapeTarget, ...]
) -> Iterator[Flow]:
    """What Prometheus collects, and where its alerts go."""
    prometheus, alertmanager = platform.observability.prometheus, platform.observability.alertmanager
    for host in inventory.group(prometheus.hosts) if prometheus else ():
        # Several targets of a job may be at one port.
        for name, address, port, job in dict.fromkeys((t.host, t.address, t.port, t.job) for t in scrape_targets):
            yield Flow(host.name, "prometheus", name, address, port, "tcp", f"prometheus scrapes {job}")
        for receiver in inventory.group(alertmanager.hosts) if alertmanager else ():
            port, reason = alertmanager.port if alertmanager else 0, "prometheus hands its alerts over"
            yield Flow(host.name, "prometheus", receiver.name, receiver.address, port, "tcp", reason)


def _journal_flows(platform: Platform, inventory: Inventory) -> Iterator[Flow]:
    """Every host sends its journal to the hosts that keep them; these send theirs to themselves."""
    store = find_journal_store(platform.observability)
    if store is None:
        return
    for target in inventory.group(store.hosts):
        for host in inventory.hosts:
            reason = "journals are collected"
            yield Flow(host.name, JOURNAL_UPLOAD, target.name, target.address, store.port, "tcp", reason)


def _tracing_flows(platform: Platform, inventory: Inventory, processes: Iterable[Process]) -> Iterator[Flow]:
    """Every process sends its spans; none counts on somebody taking them."""
    traces = platform.observability.traces
    for machine in inventory.group(traces.hosts) if traces else ():
        for process in processes:
            port, reason = traces.port if traces else 0, f"{process.group} sends its spans"
            yield Flow(
                process.host,
                process.unit_name,
                machine.name,
                machine.address,
                port,
                "tcp",
                reason,
                required=False,
            )


def _opening_flows(platform: Platform, inventory: Inventory) -> Iterator[Flow]:
    """Flows that the manifest's firewall section declares outright."""
    for name, opening in platform.firewall.openings.items():
        for host in inventory.group(opening.hosts):
            for network in dict.fromkeys(opening.networks):
                reason = f"firewall.openings.{name}: {opening.reason}"
                address, port = host.address, opening.port
                yield Flow("", "", host.name, address, port, opening.protocol, reason, source_network=network)


def _agent_flows(
    platform: Platform, processes: Iterable[Process], reachable: dict[str, list[Endpoint]]
) -> Iterator[Flow]:
    members = {name: list(group.agents) for name, group in platform.groups.items()}
    for process in processes:
        own = {(agent.address, agent.port) for agent in process.agents}
        seen: set[tuple[str, int]] = set()
        # Two needs may lead to one endpoint: the one that counts on it is named.
        for name, need in sorted(needs_of(platform, process).items(), key=lambda item: not item[1].required):
            # A name that is both a group and its only agent means the same endpoints either way.
            targets = reachable.get(name) or [e for m in members.get(name, ()) for e in reachable.get(m, ())]
            for target in targets:
                way = (target.address, target.port)
                if way in own or way in seen:
                    continue
                seen.add(way)
                reason = f"{process.group} needs {name}"
                yield Flow(
                    process.host,
                    process.unit_name,
                    target.host,
                    target.address,
                    target.port,
                    target.protocol,
                    reason,
                    required=need.required,
                )


def _service_flows(platform: Platform, nodes: tuple[ServiceNode, ...]) -> Iterator[Flow]:
    """Flows between the servers of one service."""
    for name, service in platform.services.items():
        servers = [node for node in nodes if node.service == name]
        for source in servers:
            for target in servers:
                if source == target:
                    continue
                for port, protocol, reason in _peer_ports(service, source, target):
                    yield Flow(
                        source.host,
                        f"{name}-{source.index}",
                        target.host,
                        target.address,
                        port,
                        protocol,
                        reason,
                    )
        if isinstance(service, PostgresqlService) and service.pgbouncer:
            for node in servers:
                if node.role == "primary":
                    reason = f"pgbouncer pools connections to {name}"
                    yield Flow(node.host, f"{name}-pgbouncer", node.host, node.address, node.port, "tcp", reason)


def _peer_ports(service: object, source: ServiceNode, target: ServiceNode) -> Iterator[tuple[int, str, str]]:
    if isinstance(service, RedisService):
        if service.mode == "cluster":
            yield target.port, "tcp", f"{source.service} cluster: replication and resharding"
            yield target.port + REDIS_BUS_OFFSET, "tcp", f"{source.service} cluster bus"
        elif service.mode == "replicated":
            yield target.port, "tcp", f"{source.service} replication"
    elif isinstance(service, NatsService) and service.mode == "cluster":
        yield service.cluster_port, "tcp", f"{source.service} cluster routes"
    elif isinstance(service, PostgresqlService) and source.role == "replica" and target.role == "primary":
        yield target.port, "tcp", f"{source.service} streaming replication"
    elif isinstance(service, ConsulService):
        yield service.rpc_port, "tcp", f"{source.service} servers: consensus"
        for protocol in ("tcp", "udp"):
            yield service.gossip_port, protocol, f"{source.service} servers: gossip"


def _site_flows(platform: Platform, sites: Iterable[Site], reachable: dict[str, list[Endpoint]]) -> Iterator[Flow]:
    for site in sites:
        exposure = platform.exposure[site.exposure]
        ports = [site.port] + ([exposure.redirect_port] if exposure.redirect_port else [])
        for network in exposure.clients:
            for port in ports:
                reason = f"clients of {site.exposure}"
                yield Flow("", "", site.host, site.address, port, "tcp", reason, source_network=network)
        seen: set[tuple[str, int]] = set()
        for path, route in exposure.routes.items():
            agents = [route.agent] if route.agent else []
            agents += list(platform.groups[route.group].agents) if route.group else []
            for target in (endpoint for agent in agents for endpoint in reachable.get(agent, ())):
                if (target.address, target.port) in seen:
                    continue
                seen.add((target.address, target.port))
                reason = f"{site.exposure} passes {path} on to {target.name}"
                yield Flow(site.host, "nginx", target.host, target.address, target.port, "tcp", reason)
