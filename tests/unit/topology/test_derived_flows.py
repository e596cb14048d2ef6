"""Every need opens exactly its ways through the network, and nothing else opens one."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from systems import System, systems

from groundwork.manifest.services import ConsulService, NatsService, PostgresqlService, RedisService
from groundwork.topology import Flow, Process, Topology

Way = tuple[str, str, str, int]
"""Source host, source unit, destination address, port."""


def ways(flows: tuple[Flow, ...]) -> Counter[Way]:
    return Counter((flow.source_host, flow.source_unit, flow.destination, flow.port) for flow in flows)


def answering(system: System, topology: Topology, name: str) -> set[tuple[str, int]]:
    """Addresses and ports behind the name of a service, group or agent, from the placed servers themselves."""
    service = system.platform.services.get(name)
    if service is None:
        agents = [agent for process in topology.processes for agent in process.agents]
        return {(a.address, a.port) for a in agents if a.port is not None and name in (a.agent, a.group)}
    if service.kind == "external":
        return {(service.address, service.port)}
    nodes = [node for node in topology.nodes if node.service == name]
    if isinstance(service, PostgresqlService):
        port = service.pgbouncer.port if service.pgbouncer else service.port
        return {(node.address, port) for node in nodes if node.role == "primary"}
    return {(node.address, node.port) for node in nodes}


def needed_by(system: System, process: Process) -> set[str]:
    group = system.platform.groups[process.group]
    needs = [*group.needs, *(need for agent in process.agents for need in group.agents[agent.agent].needs)]
    return {need.name for need in needs}


@given(systems())
@settings(max_examples=150, deadline=None)
def test_each_process_reaches_exactly_what_it_needs(system: System) -> None:
    topology = system.derive()
    found = ways(topology.flows)
    units = {(process.host, process.unit_name) for process in topology.processes}
    expected: Counter[Way] = Counter()
    for process in topology.processes:
        own = {(agent.address, agent.port) for agent in process.agents}
        targets = {way for name in needed_by(system, process) for way in answering(system, topology, name)}
        expected.update((process.host, process.unit_name, *way) for way in targets - own)
    assert {way: n for way, n in found.items() if way[:2] in units} == expected


@given(systems())
@settings(max_examples=100, deadline=None)
def test_every_other_flow_follows_from_a_declaration(system: System) -> None:
    topology = system.derive()
    units = {(process.host, process.unit_name) for process in topology.processes}
    rest = [flow for flow in topology.flows if (flow.source_host, flow.source_unit) not in units]
    expected: Counter[tuple[str, ...]] = Counter()
    for site in topology.sites:
        exposure = system.platform.exposure[site.exposure]
        for port in {exposure.port, exposure.redirect_port} - {None}:
            expected.update(("", "", network, site.address, str(port)) for network in exposure.clients)
        names = {name for route in exposure.routes.values() for name in (route.agent, route.group) if name}
        behind = {way for name in names for way in answering(system, topology, name)}
        expected.update((site.host, "nginx", "", address, str(port)) for address, port in behind)
    for name, service in system.platform.services.items():
        nodes = [node for node in topology.nodes if node.service == name]
        for source in nodes:
            unit = f"{name}-{source.index}"
            for target in (node for node in nodes if node != source):
                peers = [target.port] if isinstance(service, RedisService) else []
                peers += [target.port + 10_000] if getattr(service, "mode", "") == "cluster" and peers else []
                peers += [service.cluster_port] if isinstance(service, NatsService) else []
                # Gossip over both protocols.
                if isinstance(service, ConsulService):
                    peers += [service.rpc_port, service.gossip_port, service.gossip_port]
                is_copy = isinstance(service, PostgresqlService) and (source.role, target.role) == (
                    "replica",
                    "primary",
                )
                peers += [target.port] if is_copy else []
                expected.update((source.host, unit, "", target.address, str(port)) for port in peers)
            if isinstance(service, PostgresqlService) and service.pgbouncer and source.role == "primary":
                expected[source.host, f"{name}-pgbouncer", "", source.address, str(source.port)] += 1
    prometheus = system.platform.observability.prometheus
    for host in system.inventory.group(prometheus.hosts) if prometheus else ():
        # Several targets of a job may be at one port, which takes one flow.
        for address, port, _ in {(t.address, t.port, t.job) for t in topology.scrape_targets}:
            expected[host.name, "prometheus", "", address, str(port)] += 1
    logs = system.platform.observability.logs
    for host in system.inventory.group(logs.hosts) if logs and logs.backend == "journal" else ():
        for source in topology.hosts:
            expected[source.name, "journal-upload", "", host.address, str(logs.port if logs else 0)] += 1
    found = Counter((f.source_host, f.source_unit, f.source_network, f.destination, str(f.port)) for f in rest)
    assert found == expected


@given(systems())
@settings(max_examples=50, deadline=None)
def test_flows_lead_to_addresses_of_their_hosts_and_say_why(system: System) -> None:
    topology = system.derive()
    addresses = {host.name: host.address for host in topology.hosts}
    for flow in topology.flows:
        assert flow.reason
        assert flow.source_host in addresses or flow.source_network
        outside = {s.address for s in system.platform.services.values() if s.kind == "external"}
        assert (
            flow.destination == addresses[flow.destination_host]
            if flow.destination_host
            else (flow.destination in outside)
        )
    assert len(set(topology.flows)) == len(topology.flows)
