"""Each flow opens exactly what it names, and nothing else is open."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.manifest.firewall import Destination
from groundwork.topology.model import Flow
from roles.firewall.elements import Elements, add_inbound, add_outbound, declare_sets

ADDRESSES = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.10", "d": "fd00::1", "e": "fd00::a"}
NETWORKS = ["10.0.0.0/8", "10.0.0.0/30", "10.0.0.2", "10.0.0.128/25", "10.0.0.0/25", "fd00::/8", "0.0.0.0/0", "::/0"]
PORTS = [22, 80, 443, 8000]
PROTOCOLS = ["tcp", "udp"]


def make_flow(source: str, target: str, port: int, protocol: str = "tcp", network: str = "") -> Flow:
    address = ADDRESSES.get(target, target)
    return Flow(
        source, "u" if source else "", target if target in ADDRESSES else "", address, port, protocol, "why", network
    )


names = st.sampled_from(list(ADDRESSES))
peers = st.builds(make_flow, names, names, st.sampled_from(PORTS), st.sampled_from(PROTOCOLS))
clients = st.builds(
    make_flow,
    st.just(""),
    names,
    st.sampled_from(PORTS),
    st.sampled_from(PROTOCOLS),
    st.sampled_from(NETWORKS),
)


def admits(sets: dict[str, tuple[str, ...]], address: str, protocol: str, port: int, way: str = "") -> bool:
    """What the rules over these sets let through, as the kernel reads them."""
    parsed = ip_address(address)
    tail = f"{protocol}{parsed.version}"
    pairs = [item.split(" . ") for item in (*sets[f"{way}peers_{tail}"], *sets[f"{way}clients_{tail}"])]
    named = any(parsed in ip_network(network) and int(p) == port for network, p in pairs)
    return named or str(port) in sets[f"{way}world_{tail}"]


def inbound(flows: list[Flow], host: str) -> dict[str, tuple[str, ...]]:
    elements = Elements()
    add_inbound(elements, flows, host, ADDRESSES)
    return elements.collect(declare_sets(outbound=False))


@given(st.lists(st.one_of(peers, clients), max_size=30), names)
def test_a_host_admits_exactly_its_flows(flows: list[Flow], host: str) -> None:
    sets = inbound(flows, host)
    for name, address in [*ADDRESSES.items(), ("", "10.0.0.200"), ("", "192.0.2.1"), ("", "fe80::1")]:
        if name == host:
            continue
        for port in PORTS:
            for protocol in PROTOCOLS:
                wanted = any(
                    (flow.destination_host, flow.port, flow.protocol) == (host, port, protocol)
                    and (
                        ip_address(address) in ip_network(flow.source_network)
                        if flow.source_network
                        else flow.source_host == name
                    )
                    for flow in flows
                )
                assert admits(sets, address, protocol, port) == wanted


@given(st.lists(peers, max_size=30), names)
def test_each_way_between_hosts_is_one_element(flows: list[Flow], host: str) -> None:
    ways = {(f.source_host, f.port, f.protocol) for f in flows if f.destination_host == host != f.source_host}
    assert sum(len(elements) for elements in inbound(flows, host).values()) == len(ways)


@given(st.lists(st.one_of(peers, clients), max_size=30), names, st.randoms(use_true_random=False))
def test_the_order_of_flows_does_not_matter(flows: list[Flow], host: str, random: object) -> None:
    shuffled = list(flows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert inbound(shuffled, host) == inbound(flows, host)


@given(st.lists(clients, max_size=30), names)
def test_networks_of_one_port_never_overlap(flows: list[Flow], host: str) -> None:
    for name, elements in inbound(flows, host).items():
        if name.startswith("clients_"):
            pairs = [item.split(" . ") for item in elements]
            for first, port in pairs:
                others = [ip_network(n) for n, p in pairs if p == port and n != first]
                assert not any(ip_network(first).overlaps(other) for other in others)


def test_what_a_host_sends_itself_needs_no_opening() -> None:
    assert not any(inbound([make_flow("a", "a", 80)], "a").values())


def test_a_denied_way_out_leads_to_flows_destinations_and_name_servers_only() -> None:
    flows = [make_flow("a", "b", 80), make_flow("a", "api.example.org", 443), make_flow("b", "a", 22)]
    elements = Elements()
    mirror = Destination(networks=["192.0.2.0/24"], ports=[80], reason="package mirror")
    add_outbound(elements, flows, "a", [mirror], ["10.0.0.53", "fd00::53"])
    sets = elements.collect(declare_sets(outbound=True))
    assert {name: found for name, found in sets.items() if found} == {
        "resolvers4": ("10.0.0.53",),
        "resolvers6": ("fd00::53",),
        "out_peers_tcp4": ("10.0.0.2 . 80",),
        "out_clients_tcp4": ("192.0.2.0/24 . 80",),
        "out_world_tcp4": ("443",),
        "out_world_tcp6": ("443",),
    }


def test_addresses_are_ordered_as_numbers() -> None:
    flows = [make_flow(name, "d", 80) for name in ("c", "b", "a")]
    assert inbound(flows, "d")["peers_tcp4"] == ("10.0.0.1 . 80", "10.0.0.2 . 80", "10.0.0.10 . 80")


@pytest.mark.parametrize("outbound", [True, False])
def test_an_unknown_address_is_an_error(outbound: bool) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        Elements().add_peer("out_" if outbound else "", "host.example.org", "tcp", 80)


def test_what_containers_send_to_their_own_host_comes_from_their_networks() -> None:
    flows = [make_flow("a", "a", 80), make_flow("a", "b", 443), make_flow("a", "a", 22, "udp")]
    elements = Elements()
    add_inbound(elements, flows, "a", ADDRESSES, {"u"}, "172.30.0.0/16")
    sets = elements.collect(declare_sets(outbound=False))
    assert admits(sets, "172.30.4.2", "tcp", 80)
    assert admits(sets, "172.30.4.2", "udp", 22)
    assert not admits(sets, "172.30.4.2", "tcp", 443)
    assert not admits(sets, "172.31.4.2", "tcp", 80)
    processes = Elements()
    add_inbound(processes, flows, "a", ADDRESSES, {"another"}, "172.30.0.0/16")
    assert not admits(processes.collect(declare_sets(outbound=False)), "172.30.4.2", "tcp", 80)
