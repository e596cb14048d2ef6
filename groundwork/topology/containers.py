"""Agent groups that run as containers: which they are on a host, and the networks their containers have."""

from __future__ import annotations

from ipaddress import IPv4Network

from groundwork.inventory import InventoryHost
from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import Process, Topology

POOL = "172.30.0.0/16"
"""Where a host's container networks come from; ``container_networks`` in the host's data names another."""
POOL_KEY = "container_networks"
SHORTEST_POOL, LONGEST_POOL = 8, 24
NETWORK_BITS = 26
"""Prefix length of one network: 61 containers of a group on a host."""


def container_processes(topology: Topology, host: str) -> tuple[Process, ...]:
    """The processes of a host that run as containers."""
    return tuple(process for process in topology.processes_on(host) if process.in_container)


def container_pool(host: InventoryHost) -> str:
    """The network that the host's container networks are cut from.

    Raises ProblemError for what is no private IPv4 network of a length from 8 to 24.
    """
    given = str(host.data.get(POOL_KEY, POOL))
    try:
        network = IPv4Network(given)
    except ValueError:
        network = None
    if network is None or not network.is_private or not SHORTEST_POOL <= network.prefixlen <= LONGEST_POOL:
        message = "is not a network that containers could have"
        allowed = f"a private IPv4 network such as {POOL}, of a length from {SHORTEST_POOL} to {LONGEST_POOL}"
        raise ProblemError([Problem(message, key=f"host {host.name}: {POOL_KEY}", given=given, allowed=allowed)])
    return str(network)
