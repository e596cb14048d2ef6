"""Generates platforms with inventories that fit them: every combination the manifest allows, in small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest.platform import Platform
from groundwork.topology import Topology, derive

HOST_GROUPS = ("red", "green", "blue")
Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class System:
    """A platform and an inventory that fit each other."""

    platform: Platform
    inventory: Inventory

    def derive(self) -> Topology:
        return derive(self.platform, self.inventory, "test")


def make_inventory(members: dict[str, tuple[str, ...]]) -> Inventory:
    """Hosts by name, each with its groups; addresses follow from the names, not from the order."""
    hosts = [
        InventoryHost(name, f"10.0.0.{int(name.removeprefix('host')) + 1}", frozenset(groups))
        for name, groups in members.items()
    ]
    return Inventory(tuple(hosts), "inventory.py")


def minimal(**parts: Any) -> dict[str, Any]:
    """The data of a manifest with one group ``work`` on the hosts ``red``."""
    return {
        "platform": "sample",
        "runtime": {"package": {"wheel": "sample.whl"}, "launcher": "sample"},
        "groups": {"work": {"hosts": "red", "module": "m", "agents": {"worker": {"port": 9000}}}},
        "lab": {"hosts": {"one": ["red"]}},
        **parts,
    }


class Ports:
    """Hands out ports that never clash, on whichever hosts."""

    def __init__(self) -> None:
        self.next = 1024

    def take(self, count: int = 1) -> int:
        self.next += count
        return self.next - count


@st.composite
def systems(draw: Draw) -> System:
    """Any platform of up to four groups, with services, sites and metrics, on one to five hosts."""
    ports = Ports()
    count = draw(st.integers(1, 5))
    members = {f"host{index}": tuple(draw(st.sets(st.sampled_from(HOST_GROUPS), min_size=1))) for index in range(count)}
    # Every group has a host.
    members["host0"] = HOST_GROUPS
    sizes = {group: sum(group in groups for groups in members.values()) for group in HOST_GROUPS}
    services = _draw_services(draw, ports, sizes)
    groups = _draw_groups(draw, ports, services)
    data = minimal(services=services, groups=groups, exposure=_draw_exposure(draw, ports, groups))
    data["secrets"] = {"token": {"kind": "token"}}
    if draw(st.booleans()):
        data["observability"] = {"prometheus": {"hosts": draw(st.sampled_from(HOST_GROUPS)), "port": ports.take()}}
    if draw(st.booleans()):
        backend = draw(st.sampled_from(["journal", "loki"]))
        logs = {"hosts": draw(st.sampled_from(HOST_GROUPS)), "port": ports.take(), "backend": backend}
        data["observability"] = {**data.get("observability", {}), "logs": logs}
    return System(Platform.model_validate(data), make_inventory(members))


def _draw_services(draw: Draw, ports: Ports, sizes: dict[str, int]) -> dict[str, Any]:
    services: dict[str, Any] = {}
    for kind in draw(st.lists(st.sampled_from(["redis", "postgresql", "nats", "consul", "external"]), max_size=4)):
        hosts = draw(st.sampled_from(HOST_GROUPS))
        size = sizes[hosts]
        service: dict[str, Any] = {"kind": kind, "hosts": hosts}
        if kind == "redis":
            per_host = draw(st.integers(1, 3))
            modes = ["cluster"] if size * per_host >= 3 else []
            modes += ["replicated"] if size * per_host > 1 else ["standalone"]
            service |= {"mode": draw(st.sampled_from(modes)), "nodes_per_host": per_host, "port": ports.take(3)}
            # The bus of a cluster listens 10,000 above.
            service["users"] = draw(st.sampled_from([{}, {"exporter": {}}]))
        elif kind == "postgresql":
            service |= {"databases": {"main": {}}, "port": ports.take()}
            service |= {"pgbouncer": {"port": ports.take()}} if draw(st.booleans()) else {}
        elif kind == "nats":
            mode = "cluster" if size >= 3 else "standalone" if size == 1 else None
            if mode is None:
                continue
            service |= {"mode": mode, "port": ports.take(), "monitoring_port": ports.take()}
            service["cluster_port"] = ports.take()
        elif kind == "consul":
            if size > 1 and size % 2 == 0:
                continue
            service |= {"port": ports.take(), "rpc_port": ports.take(), "gossip_port": ports.take()}
        else:
            service = {"kind": kind, "address": f"{len(services)}.example.org", "port": ports.take()}
        services[f"{kind}-{len(services)}"] = service
    return services


def _draw_groups(draw: Draw, ports: Ports, services: dict[str, Any]) -> dict[str, Any]:
    """Groups whose required needs and ``after`` name earlier ones only; other needs name anything."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    all_agents = [[f"a{group}x{index}" for index in range(size)] for group, size in enumerate(shape)]
    anything = [*services, *(f"g{index}" for index in range(len(shape))), *(a for row in all_agents for a in row)]
    groups: dict[str, Any] = {}
    earlier: list[str] = list(services)
    for number, names in enumerate(all_agents):
        agents: dict[str, Any] = {}
        for index, name in enumerate(names):
            replicas = draw(st.integers(1, 3))
            agents[name] = {
                "replicas": replicas,
                "after": _some(draw, [*(a for row in all_agents[:number] for a in row), *names[:index]]),
                "needs": _draw_needs(draw, [*earlier, *names[:index]], anything),
            }
            if draw(st.booleans()):
                agents[name]["port"] = ports.take(replicas)
            if draw(st.booleans()):
                agents[name]["environment"] = {"TOKEN": {"secret": "token"}}
        group = {
            "hosts": draw(st.sampled_from(HOST_GROUPS)),
            "module": "m",
            "agents": agents,
            "needs": _draw_needs(draw, earlier, anything),
            "after": _some(draw, [f"g{index}" for index in range(number)]),
        }
        total = sum(agent["replicas"] for agent in agents.values())
        if draw(st.booleans()):
            group["processes"] = draw(st.integers(1, total))
        groups[f"g{number}"] = group
        earlier += [*names, f"g{number}"]
    return groups


def _some(draw: Draw, names: list[str]) -> list[str]:
    return draw(st.lists(st.sampled_from(names), unique=True, max_size=2)) if names else []


def _draw_needs(draw: Draw, earlier: list[str], anything: list[str]) -> list[Any]:
    required = _some(draw, earlier)
    optional = [name for name in _some(draw, anything) if name not in required]
    return [*required, *({"name": name, "required": False} for name in optional)]


def _draw_exposure(draw: Draw, ports: Ports, groups: dict[str, Any]) -> dict[str, Any]:
    exposure: dict[str, Any] = {}
    exposed = [name for group in groups.values() for name, agent in group["agents"].items() if "port" in agent]
    for number in range(draw(st.integers(0, 2))):
        routes: dict[str, Any] = {"/docs": {"denied": True}, "/all/": {"group": draw(st.sampled_from(list(groups)))}}
        if exposed:
            routes["/"] = {"agent": draw(st.sampled_from(exposed))}
        exposure[f"web-{number}"] = {
            "hosts": draw(st.sampled_from(HOST_GROUPS)),
            "server_names": [f"web{number}.example.org"],
            "port": ports.take(),
            "redirect_port": draw(st.sampled_from([None, 80])),
            "routes": routes,
        }
    return exposure
