"""A small platform with PostgreSQL, as these tests need it."""

from __future__ import annotations

from typing import Any

from groundwork.inventory import make_inventory
from groundwork.manifest.platform import Platform
from groundwork.topology import Topology, derive
from roles.postgresql import plan
from roles.postgresql.server import Server
from roles.postgresql.sizing import GIBIBYTE, Resources

HOST = Resources(8 * GIBIBYTE, 4, 100 * GIBIBYTE)


def make(needs: list[Any] | None = None, hosts: int = 1, **service: Any) -> tuple[Platform, Topology]:
    """Platform ``shop`` with groups ``sales`` (which has the needs) and ``idle``, and ``hosts`` database hosts."""
    service.setdefault("databases", {"shop": {}})
    platform = Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "."}, "launcher": "shop"},
            "services": {"store": {"kind": "postgresql", "hosts": "data", **service}},
            "groups": {
                "sales": {
                    "hosts": "app",
                    "module": "shop.sales",
                    "needs": ["store"] if needs is None else needs,
                    "agents": {"seller": {"port": 8000}},
                },
                "idle": {"hosts": "app", "module": "shop.idle", "agents": {"waiter": {"port": 8100}}},
            },
            "lab": {"hosts": {"host": ["app", "data"]}},
        }
    )
    addresses = {"app": "10.0.0.1"} | {f"data{n}": f"10.0.0.{n + 10}" for n in range(1, hosts + 1)}
    table = {n: (frozenset([n.rstrip("123")]), {"ssh_hostname": address}) for n, address in addresses.items()}
    return platform, derive(platform, make_inventory(table, "inventory"), "test")


def one_server(host: str = "data1", needs: list[Any] | None = None, hosts: int = 1, **service: Any) -> Server:
    """The planned server of one host."""
    platform, topology = make(needs, hosts, **service)
    plan.check_platform(platform, topology)
    server = plan.plan_server(platform, topology, host, HOST, "13", [], [])
    assert server is not None
    return server
