"""A listing equals the file it came from, and every change of it is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.operations.rendering import render_template
from roles.firewall.elements import Elements, declare_sets
from roles.firewall.listing import list_differences, list_missing, parse_table

# As nft 1.0.6 (Debian 12) and 1.1.3 (Debian 13) print what stands in WRITTEN.
LISTED = """\
table inet groundwork {
	set peers_tcp4 {
		type ipv4_addr . inet_service
		elements = { 10.0.0.2 . 8000,
				10.0.0.9 . 6379 }
	}

	set world_tcp4 {
		type inet_service
	}

	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		icmp type { destination-unreachable, echo-request, time-exceeded, parameter-problem } accept
		limit rate 10/minute burst 20 packets log prefix "groundwork in: "
		counter drop
	}
}
"""
WRITTEN = """\
# ours
table inet groundwork
delete table inet groundwork
table inet groundwork {
	set world_tcp4 {
		type inet_service
	}
	set peers_tcp4 {
		type ipv4_addr . inet_service
		elements = { 10.0.0.9 . 6379, 10.0.0.2 . 8000 }
	}
	chain input {
		type filter hook input priority filter; policy drop;
		# why
		ct state established,related accept
		icmp type { echo-request, destination-unreachable, parameter-problem, time-exceeded } accept
		limit rate 10/minute burst 20 packets log prefix "groundwork in: "
		counter drop
	}
}
"""


def test_a_listing_equals_what_was_written() -> None:
    assert parse_table(LISTED) == parse_table(WRITTEN)
    assert list_differences(parse_table(LISTED), parse_table(WRITTEN)) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("policy drop", "policy accept", "- chain input: type filter hook input priority filter; policy accept;"),
        ("10.0.0.9 . 6379", "10.0.0.9 . 6380", "+ peers_tcp4: 10.0.0.9 . 6379"),
        ("		counter drop\n", "", "+ chain input: counter drop"),
        ("		counter drop\n", "		accept\n		counter drop\n", "- chain input: accept"),
        ("type ipv4_addr . inet_service", "type ipv4_addr", "- set peers_tcp4: type ipv4_addr"),
        ("}\n}\n", "}\n\n	chain own {\n		accept\n	}\n}\n", "- chain own: accept"),
        ("	chain in", "	map m {\n		type mark : mark\n	}\n\n	chain in", "- map m: type mark : mark"),
        ("groundwork {\n", "groundwork {\n	flags dormant\n", "- flags dormant"),
        ("policy drop;\n", "policy drop;\n		ip saddr { 1.1.1.1, 2.2.2.2 } accept\n", "accept"),
    ],
)
def test_each_change_is_seen(old: str, new: str, line: str) -> None:
    changed = parse_table(LISTED.replace(old, new, 1))
    assert changed != parse_table(WRITTEN)
    assert any(line in found for found in list_differences(changed, parse_table(WRITTEN)))


def test_the_order_of_rules_matters() -> None:
    first, second = "		ct state established,related accept\n", "		counter drop\n"
    swapped = LISTED.replace(first, "@").replace(second, first).replace("@", second)
    assert parse_table(swapped) != parse_table(WRITTEN)
    assert list_differences(parse_table(swapped), parse_table(WRITTEN)) == ["~ chain input"]


def test_no_table_is_empty() -> None:
    assert parse_table("").is_empty
    assert not parse_table(LISTED).is_empty
    assert not parse_table(render_template("firewall/tracking.nft.j2")).is_empty


def test_only_what_is_missing_is_added_and_only_to_sets_that_are_there() -> None:
    wanted = {"peers_tcp4": ("10.0.0.2 . 8000", "10.0.0.3 . 80"), "world_tcp4": ("80",), "peers_udp4": ("::1 . 1",)}
    assert list_missing(parse_table(LISTED), wanted, ["peers_"]) == {"peers_tcp4": ["10.0.0.3 . 80"]}


@given(st.lists(st.tuples(st.ip_addresses(), st.integers(1, 65535)), max_size=50), st.booleans())
def test_the_template_declares_exactly_the_elements(peers: list[tuple[object, int]], outbound: bool) -> None:
    sets, elements = declare_sets(outbound), Elements()
    for address, port in peers:
        elements.add_peer("", str(address), "tcp", port)
    collected = elements.collect(sets)
    text = render_template(
        "firewall/table.nft.j2",
        platform="p",
        sets=sets,
        elements=collected,
        ssh_port=22,
        dhcp=(),
        log_drops=True,
        outbound=outbound,
    )
    table = parse_table(text)
    assert table.sets == {name: frozenset(found) for name, found in collected.items()}
    assert ("chain output" in table.blocks) == outbound
