"""Servers that belong together: what they are told about each other, and by whom they are arranged."""

from __future__ import annotations

import json
from collections.abc import Iterator

from groundwork.authority import paths
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import RedisService
from groundwork.problems import Problem
from groundwork.topology.identities import OPERATOR
from groundwork.topology.model import ServiceNode, Topology
from groundwork.topology.secrets import credential_name
from roles.redis.access import REPLICATION

PACKAGE = "redis_nodes"


def library(platform: str) -> str:
    """Folder of the helper's Python package."""
    return f"/usr/local/lib/groundwork/{platform}/{PACKAGE}"


def settings_path(platform: str, service: str) -> str:
    """What a host knows about the servers of a service."""
    return f"/etc/groundwork/{platform}/redis-{service}.json"


def password_path(platform: str, service: str) -> str:
    """The password of the servers' own user, for root on their hosts."""
    return f"/etc/groundwork/{platform}/credentials/{credential_name(service, REPLICATION)}"


def command(platform: str, service: str, mode: str, *words: str) -> list[str]:
    """Argument vector of the helper, for root on a host of the service."""
    folder = library(platform).rpartition("/")[0]
    start = ["/usr/bin/env", f"PYTHONPATH={folder}", "/usr/bin/python3", "-B", "-m", PACKAGE]
    return [*start, settings_path(platform, service), mode, *words]


def render_settings(platform: Platform, topology: Topology, service: str) -> str:
    """The settings of one service as JSON; every host of the service has the same."""
    declared = platform.services[service]
    assert isinstance(declared, RedisService)
    name = platform.platform
    servers = [
        {"host": node.host, "address": node.address, "port": node.port, "master": node.role == "master"}
        for node in list_nodes(topology, service)
    ]
    content = {
        "service": service,
        "servers": servers,
        "replicas": declared.replicas_per_master,
        "certificate": paths.certificate(name, OPERATOR),
        "key": paths.key(name, OPERATOR),
        "authority": paths.bundle(name),
        "user": REPLICATION,
        "password_file": password_path(name, service),
    }
    return json.dumps(content, indent=2) + "\n"


def list_nodes(topology: Topology, service: str) -> list[ServiceNode]:
    """The servers of a service in the order in which they were placed."""
    return [node for node in topology.nodes if node.service == service]


def coordinator(topology: Topology, service: str) -> str:
    """The host on which the helper arranges the others once all of them run."""
    return list_nodes(topology, service)[0].host


def check_mode(declared: RedisService, name: str) -> Iterator[Problem]:
    """Yield what a mode does not allow; whether there are servers enough is the topology's to say."""
    if declared.mode == "cluster" and declared.databases != 1:
        message = "a cluster has one database"
        yield Problem(message, key=f"services.{name}.databases", given=str(declared.databases), allowed="1")
