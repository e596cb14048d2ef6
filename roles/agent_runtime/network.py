"""Which addresses a process may talk to: those of its flows, in both directions, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from groundwork.topology.model import Process, Topology
from roles.agent_runtime.resources import Setting

if TYPE_CHECKING:
    from roles.agent_runtime.plan import GroupPlan, ProcessPlan


def permitted_addresses(topology: Topology, process: Process) -> tuple[str, ...] | None:
    """Addresses for IPAddressAllow= besides localhost, or None where they cannot be listed.

    They are the process's own address (which a client on the same host uses as its source), the destinations of its
    flows, and the hosts that may call it. None when a flow goes to a name: what it resolves to is known to neither
    systemd nor us, and may change at any time.
    """
    own = {(agent.address, agent.port) for agent in process.agents}
    hosts = {host.name: host.address for host in topology.hosts}
    addresses = {agent.address for agent in process.agents}
    for flow in topology.flows:
        if (flow.source_host, flow.source_unit) == (process.host, process.unit_name):
            addresses.add(flow.destination)
        elif (flow.destination, flow.port) in own:
            addresses.add(hosts[flow.source_host] if flow.source_host else flow.source_network)
    if not all(_is_network(address) for address in addresses):
        return None
    return tuple(sorted(addresses))


def _is_network(text: str) -> bool:
    try:
        ip_address(text.partition("/")[0])
    except ValueError:
        return False
    return True


def filter_addresses(group: GroupPlan, members: Sequence[ProcessPlan]) -> tuple[Setting, ...]:
    """Settings of a group's slice that keep its containers to their flows, as units do for processes.

    The kernel asks them of every socket below the slice, also of one in a container's own network. The host's
    container networks are in them, since what comes from the same host may come by way of their gateways.
    """
    if group.container is None or any(member.addresses is None for member in members):
        return ()
    allowed = sorted({address for member in members for address in member.addresses or ()})
    return (
        ("IPAddressDeny", "any"),
        ("IPAddressAllow", " ".join(["localhost", group.container.pool, *allowed])),
    )
