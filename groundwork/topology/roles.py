"""Which roles a host has, by what the topology places on it."""

from __future__ import annotations

from groundwork.topology.archives import hosts_with_archives
from groundwork.topology.backups import CLIENT, SERVER
from groundwork.topology.identities import ALERTMANAGER, EXPORTER, JOURNAL_UPLOAD, PROMETHEUS, TRACES
from groundwork.topology.model import Topology
from groundwork.topology.vendor_parts import PACKAGES_OF_KIND

CONTROLLER = "controller"
"""Inventory group of the host that the scheduled passes run on; it reaches the others by SSH."""
WATCHING = (EXPORTER, PROMETHEUS, ALERTMANAGER)


def roles_on(topology: Topology, host: str) -> tuple[str, ...]:
    """Return the roles of one host, in the order in which they are applied."""
    kinds = {node.kind for node in topology.nodes_on(host)}
    roles = ["base", "pki"]
    roles += ["artifacts"] if kinds & PACKAGES_OF_KIND.keys() else []
    roles += [*(kind for kind in ("redis", "postgresql", "nats", "consul") if kind in kinds)]
    if any(process.sharing for process in topology.processes_on(host)):
        roles.append("gpu")
    if any(process.in_container for process in topology.processes_on(host)):
        roles.append("container_engine")
    if topology.processes_on(host):
        roles.append("agent_runtime")
    if topology.sites_on(host):
        roles.append("reverse_proxy")
    # The exporter of the host itself is there exactly where anything of this role is, an Alertmanager alone aside.
    if any(one.host == host and one.unit in WATCHING for one in topology.identities):
        roles.append("observability")
    if any(one.host == host and one.unit == JOURNAL_UPLOAD for one in topology.identities):
        roles.append("logs")
    if any((one.host, one.unit) == (host, TRACES) for one in topology.identities):
        roles.append("traces")
    if any(one.host == host and one.unit in (CLIENT, SERVER) for one in topology.identities):
        roles.append("backup")
    if host in hosts_with_archives(topology):
        roles.append("backup_postgresql")
    if CONTROLLER in topology.inventory.host(host).groups:
        roles.append("scheduler")
    if topology.inventory.host(host).data.get("hardening_level"):
        roles.append("hardening")
    if topology.inventory.host(host).data.get("firewall_managed", True):
        roles.append("firewall")
    return tuple(roles)
