from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.inventory import make_inventory
from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import Item, check_item
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from groundwork.topology import Topology, derive
from roles.redis import plan
from roles.redis.server import Server

MEBIBYTE = 1024**2


def make(service: dict[str, Any], addresses: tuple[str, str, str]) -> tuple[Platform, Topology]:
    platform = Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "."}, "launcher": "shop"},
            "services": {"redis": {"hosts": "data", **service}},
            "groups": {
                "sales": {
                    "hosts": "app",
                    "module": "shop.sales",
                    "needs": ["redis"],
                    "agents": {"seller": {"port": 8000}},
                },
                "idle": {"hosts": "other", "module": "shop.idle", "agents": {"waiter": {"port": 8100}}},
            },
            "lab": {"hosts": {"app": ["app"], "data": ["data"], "other": ["other"]}},
        }
    )
    names = zip(("app", "data", "other"), addresses, strict=True)
    hosts = {name: (frozenset([name]), {"ssh_hostname": address}) for name, address in names}
    return platform, derive(platform, make_inventory(hosts, "inventory"), "test")


ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")


def one_server(**service: Any) -> Server:
    platform, topology = make(service, ADDRESSES)
    plan.check_platform(platform, topology)
    (server,) = plan.plan_servers(platform, topology, "data", 8 * 1024**3)
    return server


def test_names_begin_with_the_platform() -> None:
    server = one_server()
    assert server.unit == "redis-server@shop-redis-1.service"
    assert server.configuration == "/etc/redis/redis-shop-redis-1.conf"


def test_only_hosts_with_the_need_may_connect() -> None:
    assert one_server().peers == ("10.0.0.1",)
    network = render_template("redis/network.conf.j2", server=one_server())
    allowed = [line for line in network.splitlines() if line.startswith("IPAddressAllow=")]
    assert allowed == ["IPAddressAllow=localhost", "IPAddressAllow=10.0.0.2", "IPAddressAllow=10.0.0.1"]


def test_other_hosts_get_nothing() -> None:
    platform, topology = make({}, ADDRESSES)
    assert plan.plan_servers(platform, topology, "app", 0) == []
    assert plan.list_items([]) == []


def test_declared_memory_wins_over_the_hosts() -> None:
    assert one_server(memory_max="100MiB").memory == 100 * MEBIBYTE
    assert one_server().memory == 4096 * MEBIBYTE


@given(st.integers(min_value=0, max_value=2**42), st.integers(min_value=1, max_value=16), st.integers(0, 3 * MEBIBYTE))
def test_computed_memory_leaves_room_and_stands_still(total: int, servers: int, drift: int) -> None:
    memory = plan.compute_memory(total, servers, shared=False)
    assert memory % plan.MEMORY_STEP == 0
    assert memory >= plan.MEMORY_STEP
    assert memory == plan.MEMORY_STEP or memory * servers <= total // 2
    assert plan.compute_memory(total, servers, shared=True) <= memory
    assert plan.compute_memory(total + drift, servers, shared=False) - memory in (0, plan.MEMORY_STEP)


def test_a_cluster_with_several_databases_is_refused() -> None:
    platform, topology = make({"mode": "cluster", "nodes_per_host": 3, "databases": 2}, ADDRESSES)
    with pytest.raises(ProblemError) as caught:
        plan.check_platform(platform, topology)
    assert [problem.key for problem in caught.value.problems] == ["services.redis.databases"]


def test_servers_of_a_host_share_its_memory() -> None:
    platform, topology = make({"mode": "cluster", "nodes_per_host": 6, "memory_max": "2GiB"}, ADDRESSES)
    with pytest.raises(ProblemError, match="may hold more than the host has"):
        plan.plan_servers(platform, topology, "data", 8 * 1024**3)
    assert len(plan.plan_servers(platform, topology, "data", 12 * 1024**3)) == 6


def test_servers_of_a_cluster_have_ports_of_their_own_and_let_each_other_in() -> None:
    platform, topology = make({"mode": "cluster", "nodes_per_host": 3, "hosts": "data"}, ADDRESSES)
    servers = plan.plan_servers(platform, topology, "data", 8 * 1024**3)
    assert [server.port for server in servers] == [6379, 6380, 6381]
    text = render_template("redis/redis.conf.j2", server=servers[1], declared=servers[1].declared)
    lines = set(text.splitlines())
    assert {"cluster-enabled yes", "tls-cluster yes", "tls-replication yes", "tls-port 6380"} <= lines
    assert "include /etc/redis/login-shop-redis-2.conf" in lines
    assert not [line for line in lines if line.startswith("masterauth")]


@pytest.mark.parametrize(
    ("addresses", "wrong"),
    [(("10.0.0.1", "data.example.org", "10.0.0.3"), "data"), (("app.example.org", "10.0.0.2", "10.0.0.3"), "app")],
)
def test_names_in_place_of_addresses_are_refused(addresses: tuple[str, str, str], wrong: str) -> None:
    platform, topology = make({}, addresses)
    with pytest.raises(ProblemError) as caught:
        plan.check_platform(platform, topology)
    assert [problem.key for problem in caught.value.problems] == [f"host {wrong}: address"]


def test_a_host_that_needs_nothing_may_have_a_name() -> None:
    plan.check_platform(*make({}, ("10.0.0.1", "10.0.0.2", "other.example.org")))


def test_everything_laid_down_may_be_removed_and_no_data_is() -> None:
    items = plan.list_items([one_server()])
    assert Item("unit", "redis-server@shop-redis-1.service") in items
    assert [check_item(item) for item in items] == [""] * len(items)
    assert not [item for item in items if item.name.startswith("/var/")]


def test_descriptors_suffice_for_the_declared_clients() -> None:
    assert one_server().open_files == 65_535
    assert one_server(maximum_clients=100_000).open_files > 100_000


def configuration(**service: Any) -> list[str]:
    server = one_server(**service)
    return render_template("redis/redis.conf.j2", server=server, declared=server.declared).splitlines()


def test_the_configuration_says_what_is_declared() -> None:
    persistence = {"append_only": False, "append_fsync": "no", "snapshots": [{"seconds": 60, "changes": 5}]}
    lines = configuration(port=7000, memory_max="1GiB", memory_policy="allkeys-lfu", persistence=persistence)
    expected = {
        "bind 127.0.0.1 10.0.0.2",
        "port 0",
        "tls-port 7000",
        "tls-auth-clients yes",
        f"maxmemory {1024**3}",
        "maxmemory-policy allkeys-lfu",
    }
    assert expected | {"appendonly no", "appendfsync no", "save 60 5", "protected-mode yes"} <= set(lines)
    assert not [line for line in lines if line.startswith(("requirepass", "user ", "masterauth"))]


def test_no_snapshots_switches_redis_own_default_off() -> None:
    assert 'save ""' in configuration(persistence={"snapshots": []})
