from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.lab.subnets import POOL, assign_addresses, choose_subnet, parse_routes
from groundwork.problems import ProblemError

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000D50A\t00000000\t0001\t0\t0\t0\t0080FFFF\t0\t0\t0
"""


def test_routes_are_read_and_the_default_route_is_no_network():
    assert parse_routes(ROUTES) == [IPv4Network("192.0.2.0/24"), IPv4Network("10.213.0.0/17")]


def test_first_free_network_is_taken_after_a_route_that_covers_half_the_pool():
    assert choose_subnet([]) == IPv4Network("10.213.0.0/24")
    assert choose_subnet(parse_routes(ROUTES)) == IPv4Network("10.213.128.0/24")
    assert choose_subnet([IPv4Network("10.0.0.0/8")]).overlaps(POOL[1])


@given(st.lists(st.integers(0, 255).map(lambda octet: IPv4Network(f"10.213.{octet}.0/24")), max_size=200))
def test_the_choice_never_overlaps(taken):
    chosen = choose_subnet(taken)
    assert not any(chosen.overlaps(network) for network in taken)
    assert chosen.is_private


def test_a_machine_without_a_free_network_is_told():
    with pytest.raises(ProblemError, match="no free private network"):
        choose_subnet(POOL)


def test_addresses_follow_the_order_and_stay_inside():
    subnet = IPv4Network("10.213.4.0/24")
    assert assign_addresses(subnet, ["data", "app"]) == {"data": "10.213.4.11", "app": "10.213.4.12"}
    many = assign_addresses(subnet, [f"h{index}" for index in range(200)])
    assert len(set(many.values())) == 200
    assert max(many.values(), key=lambda text: int(text.split(".")[3])) == "10.213.4.210"
    with pytest.raises(ProblemError, match="too many hosts"):
        assign_addresses(subnet, [f"h{index}" for index in range(201)])
