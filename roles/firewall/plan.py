"""What the firewall of one host is to let through, decided without looking at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from groundwork.addresses import is_address
from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import Item
from groundwork.operations.rendering import render_template
from groundwork.problems import Problem, ProblemError
from groundwork.topology.containers import container_pool, container_processes
from groundwork.topology.model import Topology
from groundwork.topology.roles import CONTROLLER
from roles.firewall.elements import Declaration, Elements, add_inbound, add_outbound, declare_sets
from roles.firewall.facts import Session
from roles.firewall.settings import FirewallSettings

UNIT = "groundwork-firewall.service"


@dataclass(frozen=True)
class Rules:
    """The table of one host."""

    text: str
    """The file that nftables loads."""
    elements: Mapping[str, tuple[str, ...]]
    """The elements of each set."""
    warning: str = ""
    """What the operator should know about it."""


def ruleset_path(platform: str) -> str:
    """Where the rules lie that are loaded at boot."""
    return f"/etc/groundwork/{platform}/firewall.nft"


def switch_path(platform: str) -> str:
    """The script that puts rules on trial."""
    return f"/usr/local/lib/groundwork/{platform}/firewall-switch"


def list_items(platform: str) -> list[Item]:
    """What is removed where the host's firewall is left alone."""
    return [Item("file", switch_path(platform)), Item("file", ruleset_path(platform)), Item("unit", UNIT)]


def check_topology(topology: Topology) -> None:
    """Raise ProblemError for hosts without an IP address that a flow comes from."""
    named = {host.name: host.address for host in topology.hosts if not is_address(host.address)}
    sources = {flow.source_host for flow in topology.flows if flow.source_host and flow.destination_host}
    message = "the firewall of other hosts needs the IP address of this host"
    problems = [Problem(message, key=f"host {n}: address", given=a) for n, a in named.items() if n in sources]
    if problems:
        raise ProblemError(problems)


def check_owners(platform: str, owners: tuple[str, ...], host: str) -> None:
    """Raise ProblemError when another platform's firewall is on the host: one table filters for the whole host."""
    others = [owner for owner in owners if owner != platform]
    if others:
        message = f"the firewall of this host belongs to the platform {others[0]}"
        allowed = "one platform; firewall_managed = False for the other, applied there first"
        raise ProblemError([Problem(message, key=f"host {host}: firewall_managed", given=platform, allowed=allowed)])


def choose_controllers(settings: FirewallSettings, session: Session, host: str) -> tuple[list[str], str]:
    """Return the networks that SSH is open to, and a warning where they were not declared.

    Raises ProblemError where the declared ones lack the address that this run comes from, or where neither
    is known: nobody could log in any more.
    """
    if settings.controllers:
        if session.client and not _is_within(session.client, settings.controllers):
            message = "this run comes from an address that is none of the controllers"
            raise ProblemError([_about_controllers(message, session.client, ", ".join(settings.controllers), host)])
        return settings.controllers, ""
    if not session.client:
        raise ProblemError(
            [_about_controllers("no controllers are declared", "", "networks such as 10.0.0.0/24", host)]
        )
    shown = f"{session.client} alone, where this run comes from"
    return [session.client], f"no `controllers` are declared: SSH will be open to {shown}"


def _about_controllers(message: str, given: str, allowed: str, host: str) -> Problem:
    return Problem(message, key=f"host {host}: controllers", given=given, allowed=allowed)


def _is_within(address: str, networks: list[str]) -> bool:
    parsed = ip_address(address)
    return any(parsed in network for network in map(ip_network, networks) if network.version == parsed.version)


def plan_rules(
    platform: Platform,
    topology: Topology,
    host: str,
    controllers: list[str],
    *,
    ssh_port: int = 22,
    dhcp: tuple[int, ...] = (),
    resolvers: tuple[str, ...] = (),
) -> Rules:
    """Return the rules of one host.

    ``controllers`` are networks for SSH to ``ssh_port``; ``dhcp`` the IP versions (4, 6) that the host has its
    addresses of from DHCP; ``resolvers`` its name servers, used where outbound traffic is denied.
    """
    outbound = platform.firewall.outbound == "deny"
    sets = declare_sets(outbound)
    elements = _collect(platform, topology, host, controllers, resolvers, sets)
    text = render_template(
        "firewall/table.nft.j2",
        platform=platform.platform,
        sets=sets,
        elements=elements,
        ssh_port=ssh_port,
        dhcp=dhcp,
        log_drops=platform.firewall.log_drops,
        outbound=outbound,
    )
    return Rules(text, elements)


def _collect(
    platform: Platform,
    topology: Topology,
    host: str,
    controllers: list[str],
    resolvers: tuple[str, ...],
    sets: Mapping[str, Declaration],
) -> dict[str, tuple[str, ...]]:
    elements = Elements()
    inside = topology.inventory.group(CONTROLLER)
    elements.add_single("controllers", [*controllers, *(one.address for one in inside if is_address(one.address))])
    containers = {process.unit_name for process in container_processes(topology, host)}
    pool = container_pool(topology.inventory.host(host)) if containers else ""
    addresses = {one.name: one.address for one in topology.hosts}
    add_inbound(elements, topology.flows, host, addresses, containers, pool)
    if platform.firewall.outbound == "deny":
        add_outbound(elements, topology.flows, host, platform.firewall.destinations.values(), resolvers)
        if host in {one.name for one in inside}:
            for other in topology.hosts:
                if other.name != host and is_address(other.address):
                    elements.add_peer("out_", other.address, "tcp", int(other.data.get("ssh_port") or 22))
    return elements.collect(sets)
