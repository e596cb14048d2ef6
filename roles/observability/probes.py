"""What each host checks about itself: its units, certificates and servers, and what its processes call elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groundwork.addresses import join
from groundwork.authority import paths as authority
from groundwork.topology.identities import OPERATOR
from groundwork.topology.model import Topology

Check = dict[str, Any]
CERTIFICATE_DAYS = 3
"""Certificates are renewed from ten days before their end on: below three, nobody does."""
TIMEOUT = 5


def list_checks(topology: Topology, host: str) -> list[Check]:
    """Return the checks of one host, for ``groundwork-probe``; names are unique."""
    checks: dict[str, Check] = {}
    for check in sorted(_list(topology, host), key=lambda one: not one.get("required", True)):
        checks.setdefault(check["name"], check)
    return list(checks.values())


def _list(topology: Topology, host: str) -> Iterator[Check]:
    platform = topology.platform
    identity = {
        "authority": authority.bundle(platform),
        "certificate": authority.certificate(platform, OPERATOR),
        "key": authority.key(platform, OPERATOR),
    }
    for process in topology.processes_on(host):
        yield {"name": f"unit {process.unit_name}", "kind": "unit", "unit": process.unit_name}
    for one in topology.identities:
        if one.host == host:
            path = authority.certificate(platform, one.unit)
            yield {"name": f"certificate {one.unit}", "kind": "certificate", "path": path, "days": CERTIFICATE_DAYS}
    for node in topology.nodes_on(host):
        if node.kind in ("redis", "postgresql", "nats"):
            place = {"address": node.address, "port": node.port, "timeout": TIMEOUT}
            name = f"{node.kind} {node.service}-{node.index}"
            yield {"name": name, "kind": node.kind, **place, "identity": identity}
    yield from _calls(topology, host, identity)


def _calls(topology: Topology, host: str, identity: dict[str, str]) -> Iterator[Check]:
    """What the host's processes call: agents by their readiness over mutual TLS, everything else by connecting."""
    units = {process.unit_name for process in topology.processes_on(host)}
    agents = {(a.address, a.port): a for process in topology.processes for a in process.agents}
    for flow in topology.flows:
        if (flow.source_host, flow.protocol) != (host, "tcp") or flow.source_unit not in units:
            continue
        place = join(flow.destination, flow.port)
        agent = agents.get((flow.destination, flow.port))
        if agent:
            url = f"https://{place}{agent.ready_path}"
            name = f"call {agent.agent} at {place}"
            check: Check = {"name": name, "kind": "http", "url": url, "timeout": TIMEOUT, "identity": identity}
        else:
            address = {"address": flow.destination, "port": flow.port, "timeout": TIMEOUT}
            check = {"name": f"call {place}", "kind": "tcp", **address}
        # What one process counts on and another does not is counted on (see list_checks).
        yield check if flow.required else {**check, "required": False}
