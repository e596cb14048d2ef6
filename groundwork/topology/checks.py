"""What must hold between a platform and an inventory: groups with hosts, free ports, enough servers."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator

from groundwork.inventory import Inventory
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ConsulService, ExternalService, NatsService, PostgresqlService, RedisService
from groundwork.problems import Problem
from groundwork.topology import archives
from groundwork.topology.backups import MAIN, list_repositories
from groundwork.topology.flows import REDIS_BUS_OFFSET, needs_of
from groundwork.topology.model import Process, ServiceNode, Site
from groundwork.topology.scraping import EXPORTER_PORTS, list_exporters, list_figures

SSH_PORT = 22
MAXIMUM_FLOWS = 1_000_000
"""About 8 s and 600 MB to derive on two cores."""


def check_groups(platform: Platform, inventory: Inventory) -> Iterator[Problem]:
    """Every inventory group that the manifest places something on must have hosts."""
    used = {f"groups.{name}.hosts": group.hosts for name, group in platform.groups.items()}
    for name, service in platform.services.items():
        if not isinstance(service, ExternalService):
            used[f"services.{name}.hosts"] = service.hosts
    used |= {f"exposure.{name}.hosts": site.hosts for name, site in platform.exposure.items()}
    used |= {f"firewall.openings.{name}.hosts": opening.hosts for name, opening in platform.firewall.openings.items()}
    for part in ("prometheus", "alertmanager", "dashboards", "logs", "traces"):
        declared = getattr(platform.observability, part)
        if declared:
            used[f"observability.{part}.hosts"] = declared.hosts
    if platform.backup and platform.backup.repository.hosts:
        used["backup.repository.hosts"] = platform.backup.repository.hosts
    known = sorted(inventory.groups)
    for key, group in used.items():
        if group not in inventory.groups:
            nearest = difflib.get_close_matches(group, known, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            message = f"the inventory has no hosts in this group{hint}"
            yield Problem(message, key=key, given=group, allowed=", ".join(known))


def check_servers(platform: Platform, inventory: Inventory) -> Iterator[Problem]:
    """Each service must have as many servers as its mode takes."""
    for name, service in platform.services.items():
        if isinstance(service, ExternalService):
            continue
        hosts = len(inventory.group(service.hosts))
        key = f"services.{name}"
        if isinstance(service, RedisService):
            total = hosts * service.nodes_per_host
            if service.mode == "standalone" and total > 1:
                yield Problem("standalone is one server", key=f"{key}.mode", given=f"{total} servers", allowed="1")
            if service.mode == "replicated" and total < 2:
                yield Problem("a replicated service needs two servers", key=f"{key}.mode", given=str(total))
            if service.mode == "cluster":
                per_shard = 1 + service.replicas_per_master
                if total % per_shard or total // per_shard < 3:
                    allowed = f"a multiple of {per_shard}, at least {3 * per_shard}"
                    yield Problem("a cluster needs three masters", "", 0, f"{key}.mode", f"{total} servers", allowed)
        elif isinstance(service, NatsService):
            if service.mode == "standalone" and hosts > 1:
                yield Problem("standalone is one server", key=f"{key}.mode", given=f"{hosts} hosts", allowed="1")
            if service.mode == "cluster" and hosts < 3:
                allowed = "at least 3, an odd number"
                yield Problem("a cluster needs a majority", "", 0, f"{key}.mode", f"{hosts} hosts", allowed)
        elif isinstance(service, ConsulService) and hosts > 1 and hosts % 2 == 0:
            message = "one server more than an odd number survives nothing more"
            yield Problem(message, key=f"{key}.hosts", given=f"{hosts} hosts", allowed="1, 3 or 5")


def check_ports(
    platform: Platform,
    inventory: Inventory,
    processes: Iterable[Process],
    nodes: Iterable[ServiceNode],
    sites: Iterable[Site],
) -> Iterator[Problem]:
    """No port of a host may be declared twice; two sites may share one where the server name tells them apart."""
    sites = tuple(sites)
    yield from _check_server_names(platform, sites)
    owners: dict[tuple[str, int], str] = {(host.name, SSH_PORT): "SSH" for host in inventory.hosts}
    reported: set[tuple[str, str]] = set()
    for host, port, key in _claims(platform, inventory, processes, nodes, sites):
        owner = owners.setdefault((host, port), key)
        if owner != key and not _may_share(owner, key) and (owner, key) not in reported:
            reported.add((owner, key))
            yield Problem(f"on host {host} this port is taken by {owner}", key=key, given=str(port))


def _may_share(owner: str, key: str) -> bool:
    """Whether both are sites' ports of one sort: TLS and plain HTTP do not go together on a port."""
    same = owner.rpartition(".")[2] == key.rpartition(".")[2]
    return same and owner.startswith("exposure.") and key.startswith("exposure.")


def _check_server_names(platform: Platform, sites: Iterable[Site]) -> Iterator[Problem]:
    """A server name on one port of a host belongs to one site."""
    owners: dict[tuple[str, int, str], str] = {}
    reported: set[tuple[str, str]] = set()
    for site in sites:
        exposure = platform.exposure[site.exposure]
        key = f"exposure.{site.exposure}.server_names"
        for port in (site.port, exposure.redirect_port):
            for name in exposure.server_names if port else ():
                owner = owners.setdefault((site.host, port or 0, name), key)
                if owner != key and (name, key) not in reported:
                    reported.add((name, key))
                    yield Problem(f"on port {port} this name is taken by {owner}", key=key, given=name)


def check_flow_count(
    platform: Platform, processes: Iterable[Process], nodes: Iterable[ServiceNode]
) -> Iterator[Problem]:
    """Needs between large groups multiply; refuse them before the machine's memory does."""
    answering = Counter(node.service for node in nodes)
    groups: Counter[str] = Counter()
    units: Counter[str] = Counter()
    processes = tuple(processes)
    for process in processes:
        ports = [agent.agent for agent in process.agents if agent.port is not None]
        answering.update(ports)
        groups[process.group] += len(ports)
        units[process.group] += 1
    total = sum(answering[name] or groups[name] for p in processes for name in needs_of(platform, p))
    if total > MAXIMUM_FLOWS:
        largest = max(platform.groups, key=lambda name: units[name])
        yield Problem(
            "the needs multiply to too many network flows",
            key=f"groups.{largest}",
            given=str(total),
            allowed=f"at most {MAXIMUM_FLOWS}; pack the group with `processes`, or need fewer agents",
        )


def _claims(
    platform: Platform,
    inventory: Inventory,
    processes: Iterable[Process],
    nodes: Iterable[ServiceNode],
    sites: Iterable[Site],
) -> Iterator[tuple[str, int, str]]:
    for node in nodes:
        service, key = platform.services[node.service], f"services.{node.service}.port"
        yield node.host, node.port, key
        if isinstance(service, RedisService) and service.mode == "cluster":
            yield node.host, node.port + REDIS_BUS_OFFSET, f"services.{node.service}.port (cluster bus)"
        if isinstance(service, NatsService):
            yield node.host, service.monitoring_port, f"services.{node.service}.monitoring_port"
            if service.mode == "cluster":
                yield node.host, service.cluster_port, f"services.{node.service}.cluster_port"
        if isinstance(service, ConsulService):
            yield node.host, service.rpc_port, f"services.{node.service}.rpc_port"
            yield node.host, service.gossip_port, f"services.{node.service}.gossip_port"
        if isinstance(service, PostgresqlService) and service.pgbouncer:
            yield node.host, service.pgbouncer.port, f"services.{node.service}.pgbouncer.port"
    for part in ("prometheus", "alertmanager", "dashboards", "logs", "traces"):
        declared = getattr(platform.observability, part)
        for host in inventory.group(declared.hosts) if declared else ():
            yield host.name, declared.port, f"observability.{part}.port"
    if platform.observability.prometheus:
        for host in inventory.hosts:
            yield host.name, EXPORTER_PORTS["node"], "observability.prometheus (exporter of the host)"
        for host in inventory.group(platform.observability.prometheus.hosts):
            yield host.name, EXPORTER_PORTS["blackbox"], "observability.prometheus (prober)"
        for node, port in list_exporters(nodes).items():
            yield node.host, port, f"services.{node.service} (exporter {port})"
        for one in list_figures(platform, nodes, sites):
            yield one.host, EXPORTER_PORTS["services"], "observability.prometheus (exporter of services)"
            if one.job == "nginx":
                yield one.host, one.port, "observability.prometheus (figures of nginx)"
    for keeper in list_repositories(platform, inventory):
        if keeper.host:
            number = int(keeper.name.rpartition("-")[2]) - 1 if keeper.name != MAIN else 0
            place = "backup.repository" if keeper.name == MAIN else f"backup.copies.{number}"
            yield keeper.host, keeper.port, f"{place}.port"
    for archive in archives.place_archives(platform, inventory, nodes):
        for machine in (archive.keeper, archive.database.host) if archive.is_remote else ():
            yield machine, archives.PORT, "backup.repository (pgBackRest)"
    for site in sites:
        exposure = platform.exposure[site.exposure]
        yield site.host, site.port, f"exposure.{site.exposure}.port"
        if exposure.redirect_port:
            yield site.host, exposure.redirect_port, f"exposure.{site.exposure}.redirect_port"
    for process in processes:
        for agent in process.agents:
            if agent.port is not None:
                key = f"groups.{agent.group}.agents.{agent.agent}.port"
                first = agent.port - agent.replica + 1
                # Ports of one agent's replicas follow each other and cannot clash among themselves.
                yield (
                    agent.host,
                    agent.port,
                    key if agent.port == first else f"{key} (replica {agent.replica})",
                )
