"""What the rules of a host say, and what is refused before anything changes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from groundwork.inventory import make_inventory
from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import check_item
from groundwork.problems import ProblemError
from groundwork.topology import Topology, derive
from roles.firewall import plan
from roles.firewall.facts import DhcpFamilies, FirewallOwners, LiveTable, Resolvers, Session, SshSession
from roles.firewall.listing import parse_table
from roles.firewall.settings import FirewallSettings, read_settings


def make(hosts: dict[str, str], workers: int = 1, **parts: Any) -> tuple[Platform, Topology]:
    platform = Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "."}, "launcher": "shop"},
            "services": {"redis": {"hosts": "data"}},
            "groups": {
                "sales": {
                    "hosts": "app",
                    "module": "shop.sales",
                    "needs": ["redis"],
                    "agents": {"seller": {"port": 8000, "replicas": workers}},
                },
                "idle": {"hosts": "data", "module": "shop.idle", "needs": ["sales"], "agents": {"waiter": {}}},
            },
            "lab": {"hosts": {"app": ["app"], "data": ["data"]}},
            **parts,
        }
    )
    inventory = {n: (frozenset([n.rstrip("0123456789")]), {"ssh_hostname": a}) for n, a in hosts.items()}
    return platform, derive(platform, make_inventory(inventory, "inventory"), "test")


HOSTS = {"app": "10.0.0.1", "data": "10.0.0.2"}


def rules(host: str, hosts: dict[str, str] = HOSTS, **parts: Any) -> plan.Rules:
    return plan.plan_rules(*make(hosts, **parts), host, ["192.0.2.0/24"])


def opened(found: plan.Rules) -> dict[str, tuple[str, ...]]:
    return {name: elements for name, elements in found.elements.items() if elements}


def test_flows_and_controllers_are_all_that_is_open() -> None:
    assert opened(rules("data")) == {"controllers4": ("192.0.2.0/24",), "peers_tcp4": ("10.0.0.1 . 6379",)}
    assert opened(rules("app")) == {"controllers4": ("192.0.2.0/24",), "peers_tcp4": ("10.0.0.2 . 8000",)}


def test_a_host_with_nothing_to_do_answers_ssh_alone() -> None:
    assert opened(rules("spare", {**HOSTS, "spare": "10.0.0.3"})) == {"controllers4": ("192.0.2.0/24",)}


def test_the_host_of_the_scheduled_passes_reaches_the_others_by_ssh() -> None:
    hosts = {**HOSTS, "controller": "10.0.0.9"}
    assert opened(rules("data", hosts))["controllers4"] == ("10.0.0.9", "192.0.2.0/24")
    assert "out_peers_tcp4" not in opened(rules("controller", hosts))
    denied = opened(rules("controller", hosts, firewall={"outbound": "deny"}))
    assert denied["out_peers_tcp4"] == ("10.0.0.1 . 22", "10.0.0.2 . 22")
    assert "10.0.0.9 . 22" not in opened(rules("data", hosts, firewall={"outbound": "deny"}))["out_peers_tcp4"]


def test_declared_openings_are_flows() -> None:
    opening = {"hosts": "data", "networks": ["198.51.100.7"], "port": 9999, "reason": "the house's monitoring"}
    found = opened(rules("data", firewall={"openings": {"monitoring": opening}}))
    assert found["clients_tcp4"] == ("198.51.100.7 . 9999",)
    assert "clients_tcp4" not in opened(rules("app", firewall={"openings": {"monitoring": opening}}))


def test_openings_on_hosts_that_do_not_exist_are_refused() -> None:
    opening = {"hosts": "elsewhere", "networks": ["198.51.100.7"], "port": 9999, "reason": "the house's monitoring"}
    with pytest.raises(ProblemError, match=r"firewall\.openings\.x\.hosts"):
        make(HOSTS, firewall={"openings": {"x": opening}})


def test_outbound_is_filtered_only_where_declared() -> None:
    assert "chain output" not in parse_table(rules("app").text).blocks
    denied = rules("app", firewall={"outbound": "deny"})
    assert "policy drop" in parse_table(denied.text).blocks["chain output"][0]
    assert denied.elements["out_peers_tcp4"] == ("10.0.0.2 . 6379",)


def test_nothing_is_logged_where_that_is_switched_off() -> None:
    assert "log prefix" in rules("app").text
    assert "log prefix" not in rules("app", firewall={"log_drops": False}).text


def test_controllers_are_the_declared_ones() -> None:
    settings = FirewallSettings(controllers=["192.0.2.0/24", "2001:db8::/32"])
    assert plan.choose_controllers(settings, Session("192.0.2.9", 22), "h") == (settings.controllers, "")
    assert plan.choose_controllers(settings, Session(), "h") == (settings.controllers, "")


def test_without_controllers_the_run_keeps_its_own_way_in_and_warns() -> None:
    networks, warning = plan.choose_controllers(FirewallSettings(), Session("2001:db8::7", 22), "h")
    assert networks == ["2001:db8::7"]
    assert "2001:db8::7 alone" in warning


@pytest.mark.parametrize(
    ("declared", "session"),
    [(["192.0.2.0/24"], Session("198.51.100.1", 22)), (["10.0.0.0/8"], Session("fd00::1", 22)), ([], Session())],
)
def test_nobody_is_locked_out(declared: list[str], session: Session) -> None:
    with pytest.raises(ProblemError, match="host h: controllers"):
        plan.choose_controllers(FirewallSettings(controllers=declared), session, "h")


@pytest.mark.parametrize(
    "data", [{"controllers": ["10.0.0.300"]}, {"controllers": "10.0.0.1"}, {"firewall_managed": 1}]
)
def test_wrong_settings_name_their_key(data: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match=next(iter(data))):
        read_settings(data, "h")


def test_hosts_without_an_address_are_refused_where_flows_come_from_them() -> None:
    _, topology = make({"app": "app.example.org", "data": "10.0.0.2"})
    with pytest.raises(ProblemError, match="host app: address"):
        plan.check_topology(topology)
    plan.check_topology(make(HOSTS)[1])


def test_one_platform_owns_the_firewall_of_a_host() -> None:
    plan.check_owners("shop", ("shop",), "h")
    with pytest.raises(ProblemError, match="belongs to the platform other"):
        plan.check_owners("shop", ("other", "shop"), "h")


def test_everything_laid_down_may_be_removed() -> None:
    assert [check_item(item) for item in plan.list_items("shop")] == ["", "", ""]


def test_ten_thousand_flows_take_seconds() -> None:
    hosts = {"data": "10.0.0.2"} | {f"app{n}": f"10.1.{n}.1" for n in range(100)}
    platform, topology = make(hosts, workers=100)
    assert sum(flow.source_host == "data" for flow in topology.flows) == 10_000
    assert len(topology.flows) == 20_000
    started = time.perf_counter()
    found = plan.plan_rules(platform, topology, "data", ["192.0.2.0/24"])
    everything = plan.plan_rules(platform, topology, "app7", ["192.0.2.0/24"])
    parse_table(found.text)
    assert time.perf_counter() - started < 5
    assert len(found.elements["peers_tcp4"]) == 100
    assert len(everything.elements["peers_tcp4"]) == 100


def test_facts_read_what_hosts_print_and_tolerate_bare_ones() -> None:
    assert SshSession().process(["192.0.2.1 50000 10.0.0.1 2222"]) == Session("192.0.2.1", 2222)
    assert SshSession().process(["fe80::1%eth0 5 fe80::2%eth0 22"]) == Session("fe80::1", 22)
    assert SshSession().process(["::ffff:192.0.2.1 5 ::ffff:10.0.0.1 22"]) == Session("192.0.2.1", 22)
    assert SshSession().process([""]) == Session()
    assert DhcpFamilies().process(["4", "4", "6"]) == (4, 6)
    assert Resolvers().process(["# by hand", "nameserver 127.0.0.53", "nameserver fe80::1%eth0"]) == ("fe80::1",)
    assert FirewallOwners().process(["base.json", "firewall-shop.json"]) == ("shop",)
    assert LiveTable().process(["trial", "table inet groundwork {", "}"]).on_trial
    assert LiveTable().process(["settled"]).text == ""
