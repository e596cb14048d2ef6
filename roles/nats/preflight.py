"""What is checked of a host before NATS is set up there."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.manifest.services import NatsService
from groundwork.preflight.findings import Finding
from groundwork.preflight.network import PortUse
from groundwork.preflight.questions import Answers
from groundwork.preflight.versions import ask_version, check_version
from groundwork.site import Site

PACKAGE = "nats-server"


def ask(_site: Site, _host: str) -> dict[str, str]:
    """Its version."""
    return ask_version(PACKAGE)


def check_host(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """The version against the declared one."""
    for name in dict.fromkeys(node.service for node in site.topology.nodes_on(host, "nats")):
        service = site.platform.services[name]
        assert isinstance(service, NatsService)
        key = f"services.{name}.minimum_version"
        yield check_version("nats.version", host, answers, PACKAGE, service.minimum_version, key)


def list_ports(site: Site, host: str) -> Iterator[PortUse]:
    """Clients' port, the monitoring port, and the cluster's."""
    for node in site.topology.nodes_on(host, "nats"):
        service = site.platform.services[node.service]
        assert isinstance(service, NatsService)
        units = (f"{site.platform.platform}-{node.service}-{node.index}.service",)
        yield PortUse(node.port, units, node.service, node.address)
        yield PortUse(service.monitoring_port, units, f"{node.service}'s monitoring", "127.0.0.1")
        if service.mode == "cluster":
            yield PortUse(service.cluster_port, units, f"{node.service}'s cluster", node.address)
