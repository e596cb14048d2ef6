"""Start order, identities, secrets and packing of any platform; the same result for the same input."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from systems import System, systems

from groundwork.manifest.services import PostgresqlService, RedisService
from groundwork.topology.order import process_dependencies


@given(systems())
@settings(max_examples=100, deadline=None)
def test_start_order_respects_every_dependency(system: System) -> None:
    topology = system.derive()
    platform = system.platform
    position = {name: index for index, layer in enumerate(topology.start_order) for name in layer}
    agents = {agent: group for group, members in platform.groups.items() for agent in members.agents}
    assert set(position) == (
        {f"service:{n}" for n in platform.services} | {f"group:{n}" for n in platform.groups}
        | {f"agent:{n}" for n in agents}
    )  # fmt: skip

    def node(name: str) -> str:
        kind = "service" if name in platform.services else "agent" if name in agents else "group"
        return f"{kind}:{name}"

    for name, group in platform.groups.items():
        before = {f"group:{other}" for other in group.after}
        before |= {node(need.name) for need in group.needs if need.required}
        for agent_name, agent in group.agents.items():
            mine = before | {f"agent:{other}" for other in agent.after}
            mine |= {node(need.name) for need in agent.needs if need.required}
            assert all(position[other] < position[f"agent:{agent_name}"] for other in mine)
            assert position[f"agent:{agent_name}"] < position[f"group:{name}"]


@given(systems())
@settings(max_examples=100, deadline=None)
def test_units_wait_only_for_units_that_exist_on_their_host(system: System) -> None:
    topology = system.derive()
    for process, units in process_dependencies(system.platform, topology.processes).items():
        there = {other.unit_name for other in topology.processes_on(process.host)}
        there |= {f"sample-{other.group}.target" for other in topology.processes_on(process.host)}
        assert set(units) <= there - {process.unit_name, f"sample-{process.group}.target"}


@given(systems())
@settings(max_examples=100, deadline=None)
def test_each_unit_of_each_host_has_one_identity(system: System) -> None:
    topology = system.derive()
    found = Counter((identity.unit, identity.host) for identity in topology.identities)
    expected = [(p.unit_name.removesuffix(".service"), p.host) for p in topology.processes]
    expected += [(f"{node.service}-{node.index}", node.host) for node in topology.nodes]
    expected += [(f"site-{site.exposure}", site.host) for site in topology.sites]
    expected += [("nginx", host) for host in {site.host for site in topology.sites}]
    expected += [("operator", host.name) for host in topology.hosts]
    prometheus = system.platform.observability.prometheus
    expected += [("exporter", host.name) for host in topology.hosts if prometheus]
    watching = system.inventory.group(prometheus.hosts) if prometheus else ()
    expected += [("prometheus", host.name) for host in watching]
    logs = system.platform.observability.logs
    if logs and logs.backend == "journal":
        expected += [("journal-upload", host.name) for host in topology.hosts]
        expected += [("journal-store", host.name) for host in system.inventory.group(logs.hosts)]
    pooled = {n for n, s in system.platform.services.items() if isinstance(s, PostgresqlService) and s.pgbouncer}
    expected += [(f"{n.service}-pgbouncer-{n.index}", n.host) for n in topology.nodes if n.service in pooled]
    assert found == Counter(expected)
    assert max(found.values(), default=1) == 1
    addresses = {host.name: host.address for host in topology.hosts}
    assert all(identity.ip_addresses == (addresses[identity.host],) for identity in topology.identities)


@given(systems())
@settings(max_examples=100, deadline=None)
def test_secrets_are_declared_and_reach_both_ends(system: System) -> None:
    topology = system.derive()
    given_to = {(need.name, need.host, need.unit) for need in topology.secret_needs}
    assert {name for name, _, _ in given_to} <= set(topology.secret_declarations)
    assert len(given_to) == len(topology.secret_needs)
    for process in topology.processes:
        group = system.platform.groups[process.group]
        needs = [*group.needs, *(n for a in process.agents for n in group.agents[a.agent].needs)]
        for name in {n.name for n in needs if isinstance(system.platform.services.get(n.name), RedisService)}:
            secret = f"{name}_{process.group}".replace("-", "_")
            ends = {(process.host, process.unit_name)}
            ends |= {(n.host, f"{name}-{n.index}") for n in topology.nodes if n.service == name}
            assert {(secret, *end) for end in ends} <= given_to
        wants_token = any("TOKEN" in group.agents[agent.agent].environment for agent in process.agents)
        assert (("token", process.host, process.unit_name) in given_to) == wants_token


@given(systems())
@settings(max_examples=100, deadline=None)
def test_packing_keeps_every_replica_exactly_once(system: System) -> None:
    topology = system.derive()
    for name, group in system.platform.groups.items():
        for host in system.inventory.group(group.hosts):
            processes = [p for p in topology.processes_on(host.name) if p.group == name]
            placed = Counter((agent.agent, agent.replica) for process in processes for agent in process.agents)
            declared = [(agent, n) for agent, d in group.agents.items() for n in range(1, d.replicas + 1)]
            assert placed == Counter(declared)
            sizes = {len(process.agents) for process in processes}
            assert max(sizes) - min(sizes) <= 1
            assert len(processes) == (group.processes or len(declared))
            assert len({process.unit_name for process in processes}) == len(processes)


@given(systems(), st.integers())
@settings(max_examples=100, deadline=None)
def test_the_order_of_the_inventory_changes_no_way_and_no_unit(system: System, seed: int) -> None:
    """It decides who is primary: the first host of a group. Everything else is the same."""
    hosts = list(system.inventory.hosts)
    random.Random(seed).shuffle(hosts)
    shuffled = replace(system, inventory=replace(system.inventory, hosts=tuple(hosts)))
    one, other = system.derive(), shuffled.derive()
    assert system.derive() == one
    for part in ("processes", "sites", "identities", "secret_needs"):
        assert set(getattr(one, part)) == set(getattr(other, part))
    # PgBouncer is where the primary is.
    found = [{t for t in each.scrape_targets if t.job not in ("pgbouncer", "services")} for each in (one, other)]
    assert found[0] == found[1]
    assert {replace(n, role="") for n in one.nodes} == {replace(n, role="") for n in other.nodes}
    assert one.start_order == other.start_order
    assert one.secret_declarations == other.secret_declarations
    if not any(service.kind == "postgresql" for service in system.platform.services.values()):
        assert set(one.flows) == set(other.flows)
