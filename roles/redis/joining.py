"""Servers that belong together: they are told about each other, and arranged once all of them run."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files

from groundwork.facts.ledger import Ledger
from groundwork.operations import secret_files, validated_files
from groundwork.site import Site
from groundwork.topology.secrets import credential_name
from roles.redis import membership
from roles.redis.access import REPLICATION
from roles.redis.operations import arranged, emptied
from roles.redis.server import ROLES, Server

ONHOST = Path(__file__).parent / "onhost"


def prepare_services(site: Site, servers: list[Server]) -> dict[str, list[OperationMeta]]:
    """Lay down what the helper needs for each service that has several servers, and let servers leave.

    Servers that leave are emptied before anything changes: later the others no longer hear them.
    """
    services = {one.service: one for one in servers if one.mode != "standalone"}
    if not services:
        return {}
    platform = site.platform.platform
    for source in sorted(ONHOST.glob("*.py")):
        validated_files.validated_file(
            name=f"Install the helper of servers that belong together ({source.stem})",
            dest=f"{membership.library(platform)}/{source.name}",
            content=source.read_text("utf-8"),
        )
    files.directory(name="Make the folder of who follows whom", path=ROLES, user="root", group="root", mode="0755")
    changes: dict[str, list[OperationMeta]] = {}
    for service, one in services.items():
        password = secret_files.secret_file(
            name=f"Place the password of {service}'s servers",
            dest=membership.password_path(platform, service),
            content=site.secret(credential_name(service, REPLICATION)),
        )
        settings = validated_files.validated_file(
            name=f"Say which servers {service} has",
            dest=membership.settings_path(platform, service),
            content=membership.render_settings(site.platform, site.topology, service),
        )
        changes[service] = [password, settings]
        if one.mode == "cluster":
            arranged(
                name=f"Empty the servers that leave {service}",
                command=membership.command(platform, service, one.mode),
                verb="leave",
                _serial=True,
            )
    return changes


def arrange_services(site: Site, servers: list[Server], changes: dict[str, list[OperationMeta]]) -> None:
    """Make one cluster of a service's servers, or have its replicas follow the master; from one host for all."""
    for service, mode in {one.service: one.mode for one in servers}.items():
        if service in changes and membership.coordinator(site.topology, service) == host.name:
            arranged(
                name=f"Arrange the servers of {service}",
                command=membership.command(site.platform.platform, service, mode),
                verb="arrange",
                after=changes[service],
            )


def guard_slots(site: Site, servers: list[Server], role: str) -> None:
    """Refuse to take away a server that still holds a part of a cluster which goes on elsewhere."""
    platform = site.platform.platform
    clusters = {
        node.service
        for node in site.topology.nodes
        if node.kind == "redis" and getattr(site.platform.services[node.service], "mode", "") == "cluster"
    }
    kept = {one.unit for one in servers}
    for item in host.get_fact(Ledger, role=role):
        prefix = f"redis-server@{platform}-"
        if item.kind != "unit" or item.name in kept or not item.name.startswith(prefix):
            continue
        instance = item.name.removeprefix("redis-server@").removesuffix(".service")
        if instance.removeprefix(f"{platform}-").rpartition("-")[0] in clusters:
            emptied(
                name=f"Make sure that {instance} holds nothing any more",
                instance=instance,
                password=f"/etc/groundwork/{platform}/credentials/{instance}_operator",
            )
