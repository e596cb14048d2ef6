"""Hosts as data: addresses, groups, and what cannot be an inventory."""

from __future__ import annotations

from typing import Any

import pytest

from groundwork.inventory import Inventory, make_inventory
from groundwork.problems import ProblemError


def build(**hosts: dict[str, Any]) -> Inventory:
    return make_inventory({name: (frozenset({"app"}), data) for name, data in hosts.items()}, "inventories/x.py")


def complaints(hosts: dict[str, tuple[frozenset[str], dict[str, Any]]]) -> list[str]:
    with pytest.raises(ProblemError) as caught:
        make_inventory(hosts, "inventories/x.py")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "data", "address"),
    [
        ("one", {"address": "10.0.0.1", "ssh_hostname": "192.0.2.1"}, "10.0.0.1"),
        ("one", {"ssh_hostname": "192.0.2.1"}, "192.0.2.1"),
        ("@ssh/app.example.org", {}, "app.example.org"),
        ("one", {"address": "2001:db8::1"}, "2001:db8::1"),
    ],
)
def test_the_address_is_the_declared_one(name: str, data: dict[str, Any], address: str) -> None:
    assert build(**{name: data}).host(name).address == address


def test_an_empty_inventory_is_one_problem() -> None:
    (line,) = complaints({})
    assert line.startswith("inventories/x.py: the inventory has no hosts")


def test_every_wrong_host_is_named() -> None:
    group = frozenset({"app"})
    lines = complaints(
        {
            "one": (group, {"address": "10.0.0.1"}),
            "two": (group, {"address": "10.0.0.1"}),
            "three": (group, {"address": "10.0.0"}),
        }
    )
    assert len(lines) == 2
    assert "two: has the same address as one" in lines[0]
    assert "three: address is not an IP address (given 10.0.0)" in lines[1]


def test_groups_keep_the_inventorys_order() -> None:
    inventory = make_inventory(
        {
            "b": (frozenset({"app", "data"}), {}),
            "a": (frozenset({"app"}), {}),
        },
        "x",
    )
    assert [host.name for host in inventory.group("app")] == ["b", "a"]
    assert [host.name for host in inventory.group("data")] == ["b"]
    assert inventory.group("none") == ()
    assert inventory.groups == {"app", "data"}
    with pytest.raises(KeyError):
        inventory.host("c")
