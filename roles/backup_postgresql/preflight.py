"""What is checked before PostgreSQL's backup is set up: where its archive would lie, and that its port is free."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.preflight.findings import SITE, Finding, Severity, judge
from groundwork.preflight.network import PortUse
from groundwork.site import Site
from groundwork.topology.archives import PORT, list_archives
from roles.backup_postgresql.plan import plan_sides, server_unit


def check_site(site: Site) -> Iterator[Finding]:
    """That archives lie elsewhere than on the database's own host; a folder may be a mounted share."""
    policy = site.platform.backup
    archives = list_archives(site.platform, site.topology)
    if policy is None or policy.repository.kind != "host" or not archives:
        return
    lonely = [one.service for one in archives if not one.is_remote]
    evidence = f"archived on its own host: {', '.join(lonely)}" if lonely else "every archive lies on another host"
    remedy = "another group below backup.repository.hosts"
    yield judge("backup.archive", SITE, not lonely, evidence, remedy, Severity.WARNING)


def list_ports(site: Site, host: str) -> Iterator[PortUse]:
    """The port of pgBackRest's server, where the other side is another host."""
    for side in plan_sides(site.platform, site.topology, host):
        if side.is_remote:
            yield PortUse(PORT, (server_unit(site.platform.platform),), "pgBackRest", side.address)
