"""What does not fit is refused with the names involved, and large platforms are derived in bounded time."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from systems import make_inventory, minimal

from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError
from groundwork.topology import Topology, derive

TWO = {"host0": ("red",), "host1": ("green",)}


def attempt(data: dict[str, Any], members: dict[str, tuple[str, ...]] = TWO) -> Topology:
    return derive(Platform.model_validate(data), make_inventory(members), "test")


def refusals(data: dict[str, Any], members: dict[str, tuple[str, ...]] = TWO) -> tuple[Problem, ...]:
    with pytest.raises(ProblemError) as caught:
        attempt(data, members)
    return caught.value.problems


def groups(**ports: int) -> dict[str, Any]:
    """One group for each agent, named after it, on the hosts ``red``."""
    return {
        f"of-{name}": {"hosts": "red", "module": "m", "agents": {name: {"port": port}}} for name, port in ports.items()
    }


def test_the_minimal_platform_fits() -> None:
    assert len(attempt(minimal()).processes) == 1


@given(st.integers(2, 6), st.sampled_from(["after", "needs"]))
@settings(max_examples=20, deadline=None)
def test_a_cycle_is_named_with_all_its_members(length: int, key: str) -> None:
    data = minimal(groups=groups(**{f"a{n}": 9000 + n for n in range(length)}))
    for number in range(length):
        agent = data["groups"][f"of-a{number}"]["agents"][f"a{number}"]
        agent[key] = [f"a{(number + 1) % length}"]
    (problem,) = refusals(data)
    assert "cycle" in problem.message
    assert all(f"agent a{number}" in problem.message for number in range(length))


def test_a_cycle_that_only_packing_makes_is_refused() -> None:
    agents = {"first": {}, "between": {"after": ["other"]}}
    data = minimal(groups={"one": {"hosts": "red", "module": "m", "agents": agents}})
    data["groups"]["two"] = {"hosts": "red", "module": "m", "agents": {"other": {"after": ["first"]}}}
    attempt(data)
    data["groups"]["one"]["processes"] = 1
    (problem,) = refusals(data)
    assert "sample-one@1.service" in problem.message
    assert "sample-other@1.service" in problem.message


@given(st.integers(1, 5), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_ports_clash_exactly_when_the_replicas_ranges_meet_on_a_host(replicas: int, distance: int) -> None:
    data = minimal(groups=groups(one=9000, two=9000 + distance))
    data["groups"]["of-one"]["agents"]["one"]["replicas"] = replicas
    if distance >= replicas:
        attempt(data)
    else:
        (problem,) = refusals(data)
        assert "host0" in problem.message
        assert "one.port" in problem.message
        assert problem.key.startswith("groups.of-two.agents.two.port")
    data["groups"]["of-two"]["hosts"] = "green"
    attempt(data)


def site(**parts: Any) -> dict[str, Any]:
    return {"hosts": "red", "server_names": ["a.example"], "routes": {"/": "worker"}, **parts}


@pytest.mark.parametrize(
    ("sites", "key"),
    [
        ({"web": site(port=9000)}, "groups.work.agents.worker.port"),
        ({"web": site(port=22)}, "exposure.web.port"),
        ({"web": site(port=80)}, "exposure.web.redirect_port"),
        ({"web": site(), "two": site(server_names=["b.example"], port=80)}, "exposure.two.port"),
        ({"web": site(), "two": site(redirect_port=None)}, "exposure.two.server_names"),
    ],
)
def test_sites_that_cannot_share_a_port_are_refused(sites: dict[str, Any], key: str) -> None:
    assert key in {problem.key for problem in refusals(minimal(exposure=sites))}


def test_sites_of_different_names_share_their_ports() -> None:
    attempt(minimal(exposure={"web": site(), "two": site(server_names=["b.example"])}))


def test_a_group_without_hosts_is_named_with_the_nearest_one() -> None:
    data = minimal()
    data["groups"]["work"]["hosts"] = "gren"
    (problem,) = refusals(data)
    assert (problem.key, problem.given, problem.allowed) == ("groups.work.hosts", "gren", "green, red")
    assert "'green'" in problem.message


@pytest.mark.parametrize(
    ("service", "hosts"),
    [
        ({"kind": "redis", "nodes_per_host": 2}, 1),
        ({"kind": "redis", "mode": "replicated"}, 1),
        ({"kind": "redis", "mode": "cluster"}, 2),
        ({"kind": "redis", "mode": "cluster", "replicas_per_master": 1, "nodes_per_host": 3}, 1),
        ({"kind": "nats"}, 2),
        ({"kind": "nats", "mode": "cluster"}, 2),
    ],
)
def test_too_few_or_too_many_servers_are_refused(service: dict[str, Any], hosts: int) -> None:
    members = {f"host{n}": ("red", "blue") for n in range(hosts)}
    (problem,) = refusals(minimal(services={"store": {**service, "hosts": "blue"}}), members)
    assert problem.key == "services.store.mode"


def test_all_mistakes_come_at_once() -> None:
    data = minimal(groups=groups(one=9000, two=9000), services={"redis": {"hosts": "nowhere"}})
    data["groups"]["of-one"]["agents"]["one"]["after"] = ["two"]
    data["groups"]["of-two"]["agents"]["two"]["after"] = ["one"]
    assert len(refusals(data)) == 3


def large(count: int, **group: Any) -> dict[str, Any]:
    agents = {f"a{n}": {"port": 1024 + n, "after": [f"a{n - 1}"] if n else []} for n in range(count)}
    return minimal(groups={"work": {"hosts": "red", "module": "m", "agents": agents, **group}})


def test_ten_thousand_agents_take_seconds() -> None:
    data = large(10_000, needs=["redis"])
    data["services"] = {"redis": {"kind": "redis", "hosts": "green", "port": 6379}}
    data["services"]["redis"]["port"] = 60_000
    data["exposure"] = {"web": site(routes={"/": {"group": "work"}})}
    started = time.process_time()
    topology = attempt(data)
    seconds = time.process_time() - started
    assert len(topology.processes) == 10_000
    assert len(topology.flows) == 20_000 + 4
    # 1 s when nothing else runs; a part whose time grows with the square would take minutes.
    assert seconds < 20


def test_needs_that_multiply_are_refused_before_they_fill_the_memory() -> None:
    started = time.process_time()
    (problem,) = refusals(large(10_000, needs=["work"]))
    assert "100000000" in problem.given
    assert time.process_time() - started < 20


def test_the_result_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "from pathlib import Path; from groundwork.manifest import load; from groundwork.topology import derive;"
        "from groundwork.inventory import Inventory, InventoryHost as H; import hashlib;"
        "p = load(Path('platforms'), 'support', 'lab').platform;"
        "hosts = [H(n, f'10.0.0.{i + 1}', frozenset(h.groups)) for i, (n, h) in enumerate(p.lab.hosts.items())];"
        "t = derive(p, Inventory(tuple(hosts)), 'lab');"
        "print(hashlib.sha256(repr((t.flows, t.identities, t.start_order, t.secret_needs)).encode()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
