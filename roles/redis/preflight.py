"""What is checked of a host before Redis is set up there."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.manifest.services import RedisService
from groundwork.preflight.findings import Finding, judge, skip
from groundwork.preflight.network import PortUse
from groundwork.preflight.questions import Answers
from groundwork.preflight.versions import ask_version, check_version
from groundwork.site import Site

PACKAGE = "redis-server"
BUS = 10_000
"""Redis Cluster's bus listens this much above the port (redis.io, "Scale with Redis Cluster")."""


def ask(_site: Site, _host: str) -> dict[str, str]:
    """Its version, and whether the kernel lets a snapshot's process share memory."""
    return {
        **ask_version(PACKAGE),
        "redis_overcommit": "cat /proc/sys/vm/overcommit_memory",
        "redis_container": "systemd-detect-virt --container --quiet",
    }


def check_host(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """Version, and vm.overcommit_memory."""
    for name in dict.fromkeys(node.service for node in site.topology.nodes_on(host, "redis")):
        service = site.platform.services[name]
        assert isinstance(service, RedisService)
        key = f"services.{name}.minimum_version"
        yield check_version("redis.version", host, answers, PACKAGE, service.minimum_version, key)
    value = answers.text("redis_overcommit")
    if value != "1":
        # The role writes the setting; a container has the value of its machine.
        told = "the machine's, which holds for its containers" if answers.ok("redis_container") else "an apply sets it"
        yield skip("redis.overcommit", host, f"vm.overcommit_memory is {value or 'unknown'}: {told}")
    else:
        yield judge("redis.overcommit", host, True, "vm.overcommit_memory is 1", "")


def list_ports(site: Site, host: str) -> Iterator[PortUse]:
    """Each server's port, and the cluster's bus."""
    for node in site.topology.nodes_on(host, "redis"):
        units = (f"redis-server@{site.platform.platform}-{node.service}-{node.index}.service",)
        yield PortUse(node.port, units, node.service, node.address)
        if getattr(site.platform.services[node.service], "mode", "") == "cluster":
            yield PortUse(node.port + BUS, units, f"{node.service}'s bus", node.address)
