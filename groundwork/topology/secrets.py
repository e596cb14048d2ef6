"""Which secrets exist, and which unit on which host is given which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from groundwork.manifest.platform import Platform
from groundwork.manifest.secrets import SecretDeclaration
from groundwork.manifest.services import RedisService
from groundwork.manifest.values import Reference
from groundwork.topology.flows import needs_of
from groundwork.topology.model import Process, SecretNeed, ServiceNode, Site


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
        clients |= {user: f"declared user {user}" for user in declared.users}
        if declared.mode != "standalone":
            clients["replication"] = "replication between the servers"
    return clients


def declare_secrets(platform: Platform) -> dict[str, SecretDeclaration]:
    """Return every secret of the platform: the manifest's, and those that follow from needs."""
    secrets = dict(platform.secrets)
    for name, service in platform.services.items():
        if isinstance(service, RedisService):
            for client, purpose in service_clients(platform, name).items():
                declaration = SecretDeclaration(kind="password", description=f"{name}: {purpose}")
                secrets.setdefault(credential_name(name, client), declaration)
    if platform.backup:
        declaration = SecretDeclaration(kind="key", description="encrypts the backups")
        secrets.setdefault(platform.backup.repository.encryption_secret, declaration)
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
        if isinstance(platform.services.get(name), RedisService):
            result[credential_name(name, process.group)] = f"password for {name}"
    return result


def list_secret_needs(
    platform: Platform, processes: Iterable[Process], nodes: Iterable[ServiceNode], sites: Iterable[Site]
) -> Iterator[SecretNeed]:
    """Yield which unit on which host must be given which secret."""
    for process in processes:
        for name, purpose in process_secrets(platform, process).items():
            yield SecretNeed(name, process.host, process.unit_name, purpose)
    for node in nodes:
        if node.kind == "redis":
            for client, purpose in service_clients(platform, node.service).items():
                name = credential_name(node.service, client)
                yield SecretNeed(name, node.host, f"{node.service}-{node.index}", purpose)
    for site in sites:
        key = platform.exposure[site.exposure].tls.key_secret
        if key:
            yield SecretNeed(key, site.host, "nginx", f"key of {site.exposure}")
