"""What a server of Consul is told, and who may do what there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundwork.inventory import Inventory, make_inventory
from groundwork.manifest.platform import Platform
from groundwork.problems import ProblemError
from groundwork.topology import derive
from groundwork.topology.identities import consul_server_name
from groundwork.topology.model import Topology
from groundwork.topology.vendor_parts import VendorPackage, list_vendor_packages
from roles.consul import plan
from roles.consul.access import list_access


def make_platform(needs: object = ("consul",), **consul: object) -> Platform:
    return Platform.model_validate(
        {
            "platform": "ymera",
            "runtime": {"package": {"directory": "x"}, "launcher": "agent_runtime"},
            "services": {"consul": {"hosts": "data", **consul}},
            "groups": {
                "sales": {"hosts": "app", "module": "m", "needs": list(needs), "agents": {"seller": {"port": 8000}}},  # type: ignore[call-overload]
                "stock": {"hosts": "app", "module": "m", "agents": {"keeper": {"port": 8100}}},
            },
            "lab": {"hosts": {"one": ["app"]}},
        }
    )


def make_hosts(servers: int) -> Inventory:
    hosts: dict[str, tuple[frozenset[str], dict[str, Any]]] = {
        f"data-{n}": (frozenset({"data"}), {"address": f"192.0.2.{n}"}) for n in range(1, servers + 1)
    }
    hosts["app"] = (frozenset({"app"}), {"address": "192.0.2.100"})
    return make_inventory(hosts, "inventories/here.py")


def make_topology(platform: Platform, servers: int = 1) -> Topology:
    return derive(platform, make_hosts(servers), "here")


def make_server(servers: int = 1, **consul: object) -> plan.Server:
    platform = make_platform(**consul)
    (server,) = plan.plan_servers(platform, make_topology(platform, servers), "data-1")
    return server


def test_servers_know_each_other_and_others_know_the_api_only() -> None:
    platform = make_platform()
    topology = make_topology(platform, 3)
    flows = {(f.source_host, f.destination_host, f.port, f.protocol) for f in topology.flows}
    servers = [f"data-{n}" for n in (1, 2, 3)]
    between = {(one, other) for one in servers for other in servers if one != other}
    expected = {(*pair, port, "tcp") for pair in between for port in (8300, 8301)}
    expected |= {(*pair, 8301, "udp") for pair in between}
    expected |= {("app", server, 8501, "tcp") for server in servers}
    assert flows == expected
    (server,) = plan.plan_servers(platform, topology, "data-2")
    assert server.peers == ("192.0.2.1", "192.0.2.100", "192.0.2.3")
    assert not server.first
    described = plan.describe_server(server, True)
    assert described["bootstrap_expect"] == 3
    assert described["retry_join"] == ["192.0.2.1", "192.0.2.3"]


def test_an_even_number_of_servers_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"services\.consul\.hosts.*1, 3 or 5"):
        make_topology(make_platform(), 4)


def test_only_servers_carry_the_servers_name() -> None:
    topology = make_topology(make_platform())
    named = {one.unit for one in topology.identities if consul_server_name("ymera") in one.dns_names}
    assert named == {"consul-1"}


def test_both_forms_say_the_same() -> None:
    modern, former = (plan.describe_server(make_server(), form) for form in (True, False))
    tls: Any = modern.pop("tls")
    assert tls["internal_rpc"] == {"verify_server_hostname": former.pop("verify_server_hostname")}
    minimum = {"tls12": "TLSv1_2"}
    for key, value in tls["defaults"].items():
        given = former.pop(key)
        assert value == minimum.get(str(given), given)
    ports: Any = modern["ports"]
    assert ports.pop("grpc_tls") == -1
    assert modern == former
    assert ports["http"] == ports["dns"] == ports["grpc"] == ports["serf_wan"] == -1
    assert former["acl"] == {"enabled": True, "default_policy": "deny", "down_policy": "extend-cache"}


def test_secrets_are_no_part_of_the_open_file() -> None:
    text = json.dumps(plan.describe_server(make_server(), True))
    assert "encrypt" not in text and "tokens" not in text
    secret: Any = plan.describe_secrets("gossip", "manage", "own", False)
    assert secret == {"encrypt": "gossip", "acl": {"tokens": {"master": "manage", "agent": "own"}}}
    newer: Any = plan.describe_secrets("gossip", "manage", "own", True)
    assert newer["acl"]["tokens"] == {"initial_management": "manage", "agent": "own"}


def test_each_group_has_its_own_token_and_policy() -> None:
    platform = make_platform([{"name": "consul", "keys": ["ymera/*", "shared"]}])
    names = make_topology(platform).secret_declarations
    kinds = {name: one.kind for name, one in names.items()}
    tokens = ("management", "agent", "sales")
    assert kinds == {f"consul_{name}": "uuid" for name in tokens} | {"consul_gossip": "key"}
    (access,) = list_access(platform, "consul")
    assert access.rules.splitlines() == [
        'key "shared" { policy = "write" }',
        'key_prefix "ymera/" { policy = "write" }',
        'service "seller" { policy = "write" }',
        'service_prefix "" { policy = "read" }',
        'node_prefix "" { policy = "read" }',
    ]
    (server,) = plan.plan_servers(platform, make_topology(platform), "data-1")
    described: Any = plan.describe_access(server, {name: f"secret-{name}" for name in tokens})
    assert {one["description"]: one["policy"] for one in described["tokens"].values()} == {
        "groundwork: sales": "groundwork-sales",
        "groundwork: agent": "groundwork-agent",
    }
    assert described["policies"]["groundwork-agent"].startswith('node "data-1" { policy = "write" }\n')


def test_the_more_that_two_needs_allow_counts() -> None:
    needs = [{"name": "consul", "access": "read", "keys": ["a/*", "b/*"]}]
    platform = make_platform(needs)
    assert 'key_prefix "a/" { policy = "read" }' in list_access(platform, "consul")[0].rules
    data = platform.model_dump(by_alias=True, exclude_unset=True)
    data["groups"]["sales"]["agents"]["seller"]["needs"] = [{"name": "consul", "keys": ["b/*"]}]
    rules = list_access(Platform.model_validate(data), "consul")[0].rules
    assert 'key_prefix "a/" { policy = "read" }' in rules and 'key_prefix "b/" { policy = "write" }' in rules


@pytest.mark.parametrize("key", ['x" {} key_prefix "', "a/*/b", "*", "/a", "a//b", "a\nb", ""])
def test_what_is_no_key_is_refused(key: str) -> None:
    platform = make_platform([{"name": "consul", "keys": [key]}])
    with pytest.raises(ProblemError, match=r"groups\.sales\.needs\.0\.keys\.0: is no key of Consul"):
        plan.check_platform(platform, make_topology(platform))


def test_names_that_consul_does_not_take_are_refused() -> None:
    platform = make_platform()
    for name, address, told in (
        ("data_1", "192.0.2.1", "is no name"),
        ("one", "one.example.org", "needs the IP address"),
    ):
        hosts = {name: (frozenset({"data", "app"}), {"ssh_hostname": address})}
        topology = derive(platform, make_inventory(hosts, "here"), "here")
        with pytest.raises(ProblemError, match=told):
            plan.check_platform(platform, topology)


def test_a_group_may_not_be_called_like_a_secret_of_consul() -> None:
    data = make_platform().model_dump(by_alias=True, exclude_unset=True)
    data["groups"]["agent"] = data["groups"].pop("sales")
    platform = Platform.model_validate(data)
    with pytest.raises(ProblemError, match=r"groups\.agent"):
        plan.check_platform(platform, make_topology(platform))


def test_the_package_follows_from_the_server() -> None:
    platform = make_platform(version="1.20.1")
    topology = make_topology(platform)
    assert list_vendor_packages(platform, topology, "data-1") == (VendorPackage("consul", "1.20.1"),)
    assert list_vendor_packages(platform, topology, "app") == ()
