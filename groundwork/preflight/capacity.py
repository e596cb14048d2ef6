"""What a host is declared to carry, summed up, against what its machine is declared to have or really has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from groundwork.manifest.machines import Machine
from groundwork.manifest.services import NatsService, PostgresqlService, RedisService
from groundwork.manifest.values import format_size
from groundwork.preflight.findings import Finding, judge, skip
from groundwork.site import Site

MEBIBYTE = 1024**2
SYSTEM_MEMORY = 256 * MEBIBYTE
"""An allowance for the operating system itself."""
MEMORY_SHARE = 0.92
"""A machine sold with so much memory shows this share of it at least: the kernel and firmware take the rest."""
DISK_SHARE = 0.90
"""A disk sold with so much space holds a file system of this share at least."""


@dataclass(frozen=True)
class Needs:
    """What is declared for one host: bytes and processors, and where they come from."""

    memory: int = 0
    processors: float = 0.0
    disk: int = 0
    parts: tuple[str, ...] = ()


def sum_needs(site: Site, host: str) -> Needs:
    """Add up what agents request and what services on the host may take. Limits (``memory_max``) of agents do not
    count: they are what must not be passed, not what is expected."""
    memory, processors, disk = 0, 0.0, 0
    parts: list[str] = []
    topology, platform = site.topology, site.platform
    for name in dict.fromkeys(process.group for process in topology.processes_on(host)):
        group = platform.groups[name]
        agents = [
            group.agents[instance.agent].resources
            for process in topology.processes_on(host)
            if process.group == name
            for instance in process.agents
        ]
        asked = max(group.resources.memory_request or 0, sum(one.memory_request or 0 for one in agents))
        cores = max(group.resources.cpu_request or 0.0, sum(one.cpu_request or 0.0 for one in agents))
        logs = group.log_file.maximum_bytes * (group.log_file.backups + 1) if group.log_file else 0
        memory, processors, disk = memory + asked, processors + cores, disk + logs
        parts += [f"group {name} {_mebibytes(asked)}"] if asked else []
    for node in topology.nodes_on(host):
        service = platform.services[node.service]
        asked = stored = 0
        if isinstance(service, RedisService | PostgresqlService):
            asked = service.memory_max or 0
        elif isinstance(service, NatsService) and service.jetstream:
            asked, stored = service.jetstream.memory_max, service.jetstream.file_max
        if isinstance(service, RedisService) and service.persistence.append_only:
            stored = 3 * asked  # The append-only file, its rewritten copy beside it, and a snapshot.
        memory, disk = memory + asked, disk + stored
        parts += [f"{node.service} {_mebibytes(asked)}"] if asked else []
    return Needs(memory, processors, disk, tuple(parts))


def declared_machine(site: Site, host: str) -> Machine | None:
    """What the manifest says about a host's machine: for each quantity the largest of its groups'."""
    groups = site.inventory.host(host).groups
    found = [machine for name, machine in site.platform.machines.items() if name in groups]
    if not found:
        return None

    def largest(key: str) -> int | None:
        return max((value for one in found if (value := getattr(one, key)) is not None), default=None)

    gpus = max((one.gpus for one in found), key=len)
    return Machine(cores=largest("cores"), memory=largest("memory"), disk=largest("disk"), gpus=gpus)


def check_declared(site: Site, host: str) -> Iterator[Finding]:
    """Needs against the declared machine; contacts nothing."""
    machine, needs = declared_machine(site, host), sum_needs(site, host)
    if machine is None:
        yield skip("capacity.declared", host, "the manifest says nothing about its machine")
        return
    yield from _compare(host, "capacity.declared", needs, machine.memory, machine.cores, machine.disk)


def check_real(site: Site, host: str, memory: int, cores: int, disk: int, free: int) -> Iterator[Finding]:
    """The machine as it is against what is declared of it and what it is to carry.

    ``memory``, ``disk`` (of the root file system, and that of /var) and ``free`` there are bytes.
    """
    machine, needs = declared_machine(site, host), sum_needs(site, host)
    if machine is not None:
        rows = (
            ("cores", cores, machine.cores, 1.0, str),
            ("memory", memory, machine.memory, MEMORY_SHARE, _mebibytes),
            ("disk", disk, machine.disk, DISK_SHARE, _mebibytes),
        )
        for name, has, wanted, share, show in rows:
            if wanted is not None:
                evidence = f"has {show(has)}, declared {show(wanted)}"
                remedy = f"use a larger machine, or correct machines.*.{name}"
                yield judge(f"machine.{name}", host, has >= wanted * share, evidence, remedy)
    yield from _compare(host, "capacity.real", needs, memory, cores, None)
    evidence = f"{_mebibytes(free)} free, declared needs {_mebibytes(needs.disk)}"
    yield judge("capacity.disk", host, free >= needs.disk, evidence, "free space, or lower what services may store")


def _compare(
    host: str, check: str, needs: Needs, memory: int | None, cores: int | None, disk: int | None
) -> Iterator[Finding]:
    if memory is not None:
        wanted = needs.memory + SYSTEM_MEMORY
        sources = ", ".join((*needs.parts, f"system {_mebibytes(SYSTEM_MEMORY)}"))
        evidence = f"needs {_mebibytes(wanted)} of {_mebibytes(memory)} ({sources})"
        yield judge(f"{check}_memory", host, wanted <= memory, evidence, "move groups or services, or lower requests")
    if cores is not None:
        evidence = f"needs {needs.processors:g} of {cores} processors"
        yield judge(f"{check}_processors", host, needs.processors <= cores, evidence, "move groups, or lower requests")
    if disk is not None:
        evidence = f"needs {_mebibytes(needs.disk)} of {_mebibytes(disk)}"
        yield judge(f"{check}_disk", host, needs.disk <= disk, evidence, "a larger disk, or lower what is stored")


def _mebibytes(size: int) -> str:
    return format_size(max(size // MEBIBYTE, 0) * MEBIBYTE) if size >= MEBIBYTE else f"{size}B"
