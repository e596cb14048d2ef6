"""Chooses a private IPv4 network for a lab that collides with nothing this machine already reaches."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from groundwork.lab.errors import lab_error

# Private ranges (RFC 1918) that home routers, cloud networks and Docker's own defaults rarely use.
POOL = (IPv4Network("10.213.0.0/16"), IPv4Network("172.29.0.0/16"), IPv4Network("192.168.224.0/19"))
FIRST_HOST = 11
MAX_HOSTS = 200


def parse_routes(text: str) -> list[IPv4Network]:
    """Parse ``/proc/net/route`` into the networks it routes; the default route is left out."""
    networks = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        address, mask = (_from_hex(fields[index]) for index in (1, 7))
        if mask != "0.0.0.0":
            networks.append(IPv4Network(f"{address}/{mask}", strict=False))
    return networks


def _from_hex(word: str) -> str:
    """The kernel prints addresses as native-endian hexadecimal words."""
    return socket.inet_ntoa(struct.pack("=L", int(word, 16)))


def choose_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return the first /24 of the pool that overlaps none of ``taken``; ProblemError when all are taken."""
    used = list(taken)
    for block in POOL:
        for candidate in block.subnets(new_prefix=24):
            if not any(candidate.overlaps(network) for network in used):
                return candidate
    raise lab_error("no free private network is left for the lab", allowed=", ".join(map(str, POOL)))


def assign_addresses(subnet: IPv4Network, names: Iterable[str]) -> dict[str, str]:
    """Give each host name its address: ``.11`` upwards in the given order; at most 200 hosts."""
    ordered = list(names)
    if len(ordered) > MAX_HOSTS:
        raise lab_error("too many hosts for one lab", given=str(len(ordered)), allowed=f"at most {MAX_HOSTS}")
    first = IPv4Address(int(subnet.network_address) + FIRST_HOST)
    return {name: str(first + index) for index, name in enumerate(ordered)}
