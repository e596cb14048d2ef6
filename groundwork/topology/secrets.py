"""Which secrets exist, and which unit on which host is given which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from groundwork.inventory import Inventory
from groundwork.manifest.platform import Platform
from groundwork.manifest.secrets import SecretDeclaration
from groundwork.manifest.services import ConsulService, RedisService
from groundwork.manifest.values import Reference
from groundwork.topology import archives, backups
from groundwork.topology.flows import needs_of
from groundwork.topology.model import Process, SecretNeed, ServiceNode, Site

CONSUL_MANAGEMENT, CONSUL_AGENT, CONSUL_GOSSIP = "management", "agent", "gossip"
"""Secrets of a Consul besides its clients' tokens; names that no agent group which needs it may have."""
METRICS = "prometheus"
"""Client by which an exporter reads a server's figures."""


def credential_name(service: str, client: str) -> str:
    """Name of the password of one client (agent group or declared user) of a service."""
    return f"{service}_{client}".replace("-", "_")


def service_clients(platform: Platform, service: str) -> dict[str, str]:
    """Return the clients of a service that have a password: name to what it is for."""
    declared = platform.services[service]
    clients = {
        name: f"agent group {name}"
        for name, group in platform.groups.items()
        if any(need.name == service for need in group.needs)
        or any(need.name == service for agent in group.agents.values() for need in agent.needs)
    }
    if isinstance(declared, RedisService):
        if platform.observability.prometheus:
            clients.setdefault(METRICS, "the exporter of its metrics")
        clients |= {user: f"declared user {user}" for user in declared.users}
        if declared.mode != "standalone":
            clients["replication"] = "replication between the servers"
    if isinstance(declared, ConsulService):
        clients |= {CONSUL_MANAGEMENT: "makes policies and tokens", CONSUL_AGENT: "the servers themselves"}
    return clients


def declare_secrets(platform: Platform) -> dict[str, SecretDeclaration]:
    """Return every secret of the platform: the manifest's, and those that follow from needs."""
    secrets = dict(platform.secrets)
    for name, service in platform.services.items():
        if isinstance(service, RedisService):
            for client, purpose in service_clients(platform, name).items():
                declaration = SecretDeclaration(kind="password", description=f"{name}: {purpose}")
                secrets.setdefault(credential_name(name, client), declaration)
        elif isinstance(service, ConsulService):
            for client, purpose in service_clients(platform, name).items():
                declaration = SecretDeclaration(kind="uuid", description=f"{name}: token, {purpose}")
                secrets.setdefault(credential_name(name, client), declaration)
            declaration = SecretDeclaration(kind="key", length=64, description=f"{name}: encrypts the servers' gossip")
            secrets.setdefault(credential_name(name, CONSUL_GOSSIP), declaration)
    if platform.backup:
        declaration = SecretDeclaration(kind="key", description="encrypts the backups")
        for repository in (platform.backup.repository, *platform.backup.copies):
            secrets.setdefault(repository.encryption_secret, declaration)
        for item in backups.list_logins(platform):
            declaration = SecretDeclaration(kind="password", description=f"{item}: login at the backup's repository")
            secrets.setdefault(backups.login_secret(item), declaration)
    return secrets


def process_secrets(platform: Platform, process: Process) -> dict[str, str]:
    """Return the secrets one process is given: name to what for."""
    group = platform.groups[process.group]
    result: dict[str, str] = {}
    values: list[tuple[str, Any]] = list(group.environment.items())
    values += list(group.configuration.values.items()) if group.configuration else []
    for instance in process.agents:
        values += group.agents[instance.agent].environment.items()
    for key, value in values:
        if isinstance(value, Reference) and value.kind == "secret":
            result[value.target] = key
    for name in needs_of(platform, process):
        service = platform.services.get(name)
        if isinstance(service, RedisService | ConsulService):
            word = "password" if isinstance(service, RedisService) else "token"
            result[credential_name(name, process.group)] = f"{word} for {name}"
    return result


def list_secret_needs(
    platform: Platform,
    inventory: Inventory,
    processes: Iterable[Process],
    nodes: Iterable[ServiceNode],
    sites: Iterable[Site],
) -> Iterator[SecretNeed]:
    """Yield which unit on which host must be given which secret."""
    for process in processes:
        for name, purpose in process_secrets(platform, process).items():
            yield SecretNeed(name, process.host, process.unit_name, purpose)
    nodes = tuple(nodes)
    for node in nodes:
        if node.kind in ("redis", "consul"):
            clients = service_clients(platform, node.service)
            if node.kind == "consul":
                clients[CONSUL_GOSSIP] = "encrypts the servers' gossip"
            for client, purpose in clients.items():
                name = credential_name(node.service, client)
                yield SecretNeed(name, node.host, f"{node.service}-{node.index}", purpose)
    for archive in archives.place_archives(platform, inventory, nodes):
        yield SecretNeed(archive.encryption_secret, archive.host, archives.KEEPER, f"encrypts {archive.item}")
    alertmanager = platform.observability.alertmanager
    for host in inventory.group(alertmanager.hosts) if alertmanager else ():
        told: dict[str, list[str]] = {}
        for name, receiver in alertmanager.receivers.items() if alertmanager else ():
            told.setdefault(receiver.secret, []).append(name)
        for secret, names in told.items():
            yield SecretNeed(secret, host.name, "alertmanager", f"receivers {', '.join(names)}")
    yield from _backup_needs(platform, inventory, nodes)
    for site in sites:
        key = platform.exposure[site.exposure].tls.key_secret
        if key:
            yield SecretNeed(key, site.host, "nginx", f"key of {site.exposure}")


def _backup_needs(platform: Platform, inventory: Inventory, nodes: Iterable[ServiceNode]) -> Iterator[SecretNeed]:
    """What jobs log in and encrypt with; a host that keeps a repository reads it for checks and retention."""
    for job in backups.place_jobs(platform, inventory, nodes):
        for repository in job.repositories:
            purpose = f"encrypts {job.item} in {repository.name}"
            yield SecretNeed(repository.encryption_secret, job.host, backups.CLIENT, purpose)
        if any(one.kind == "host" for one in job.repositories):
            yield SecretNeed(backups.login_secret(job.item), job.host, backups.CLIENT, f"login of {job.item}")
    for repository in backups.list_repositories(platform, inventory):
        if repository.host:
            secret, purpose = repository.encryption_secret, f"checks and thins out {repository.name}"
            yield SecretNeed(secret, repository.host, backups.SERVER, purpose)
