"""What the exporters may do at the servers that they look after."""

from __future__ import annotations

from typing import Any

import pytest

from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest.platform import Platform
from groundwork.problems import ProblemError
from groundwork.topology import derive
from roles.postgresql.access import list_logins, render_access, render_mappings, render_pool_access, render_pool_users
from roles.redis.access import list_access
from tests.unit.topology.systems import minimal

SERVICES = {
    "redis": {"kind": "redis", "hosts": "red"},
    "postgresql": {"kind": "postgresql", "hosts": "red", "databases": {"main": {}}},
}
PROMETHEUS = {"prometheus": {"hosts": "red"}}


def make(observability: dict[str, Any], group: str = "work") -> Platform:
    needs = ["redis", "postgresql"]
    groups = {group: {"hosts": "red", "module": "m", "needs": needs, "agents": {"worker": {"port": 9000}}}}
    return Platform.model_validate(minimal(services=SERVICES, groups=groups, observability=observability))


def test_the_exporter_of_redis_reads_figures_only() -> None:
    access = {one.client: one.rules for one in list_access(make(PROMETHEUS), "redis")}
    rules = access["prometheus"]
    assert rules[0] == "-@all"
    assert not any(rule.startswith(("~", "%", "&")) for rule in rules)
    assert not any("config" in rule or "@" in rule for rule in rules[1:])
    assert "prometheus" not in {one.client for one in list_access(make({}), "redis")}


def test_a_group_cannot_have_the_exporters_name() -> None:
    with pytest.raises(ProblemError, match="exporter's user"):
        list_access(make(PROMETHEUS, "prometheus"), "redis")
    assert list_access(make({}, "prometheus"), "redis")


def test_the_exporter_of_postgresql_comes_in_by_the_socket_alone() -> None:
    for observability, expected in ((PROMETHEUS, 1), ({}, 0)):
        platform = make(observability)
        host = InventoryHost("one", "10.0.0.1", frozenset({"red"}))
        topology = derive(platform, Inventory((host,), "inventory.py"), "test")
        logins = list_logins(platform, topology, "postgresql")
        node = next(node for node in topology.nodes if node.kind == "postgresql")
        declared: Any = platform.services["postgresql"]
        lines = [line for line in render_access(node, declared, logins, ()).splitlines() if '"prometheus"' in line]
        assert lines == ['local "postgres" "prometheus" peer'] * expected
        assert "prometheus" not in render_mappings("postgresql", declared, logins)
        assert "prometheus" not in render_pool_users(logins)
        reads = ['hostssl "pgbouncer" "exporter" 10.0.0.1/32 cert'] * expected
        assert [line for line in render_pool_access(node, logins).splitlines() if "exporter" in line] == reads
        assert ('"exporter" ""' in render_pool_users(logins)) == bool(expected)
