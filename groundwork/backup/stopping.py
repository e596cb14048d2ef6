"""Stops and starts what uses data while they are restored, in the order that the topology gives."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from groundwork.backup.restore_state import RestoreState, write_state
from groundwork.engine.asking import run_command
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.backups import SERVICES, Job
from groundwork.topology.flows import needs_of
from groundwork.topology.model import Process

SECONDS = 600.0


def find_users(site: Site, jobs: Sequence[Job]) -> list[Process]:
    """The processes that use what is restored, in the order in which they start.

    Those that need a service, wherever they are; those on the same host, for files and configuration.
    """
    services = {job.service for job in jobs if job.kind in SERVICES}
    places = {job.host for job in jobs if job.kind not in SERVICES}
    found = [
        process
        for process in site.topology.processes
        if process.host in places or services & needs_of(site.platform, process).keys()
    ]
    chosen = set(found)
    return [process for process in _in_order(site) if process in chosen]


def stop_agents(site: Site, jobs: Sequence[Job], state: RestoreState) -> None:
    """Stop the processes that use the data, the last started first; notes those that run before it stops them."""
    users = list(reversed(find_users(site, jobs)))
    for host in dict.fromkeys(process.host for process in users):
        units = [process.unit_name for process in users if process.host == host]
        if host not in state.stopped:
            state.stopped[host] = _find_active(site, host, units)
    # Before the first is stopped: a restore that is taken up again must know what to start.
    write_state(site, state)
    for process in users:
        if process.unit_name in state.stopped[process.host]:
            _systemctl(site, process.host, "stop", [process.unit_name])


def stop_replicas(site: Site, jobs: Sequence[Job], state: RestoreState) -> None:
    """Stop the servers of a Redis that the sets have no data of: none may take a stopped master's place."""
    services = {job.service for job in jobs if job.kind == "redis"}
    for node in site.topology.nodes:
        instance = f"{site.platform.platform}-{node.service}-{node.index}"
        unit = f"redis-server@{instance}.service"
        if node.service in services and instance not in state.masters.get(node.host, []):
            known = state.replicas.setdefault(node.host, [])
            known += [] if unit in known else [unit]
    write_state(site, state)
    for host, units in state.replicas.items():
        _systemctl(site, host, "stop", units)


def start_again(site: Site, state: RestoreState) -> None:
    """Start servers first, then agents in the order of the topology; only what ran before. Raises ProblemError."""
    for host, units in state.replicas.items():
        _systemctl(site, host, "start", units)
    ordered = [process for process in _in_order(site) if process.unit_name in state.stopped.get(process.host, [])]
    for process in ordered:
        _systemctl(site, process.host, "start", [process.unit_name])


def _in_order(site: Site) -> list[Process]:
    """All processes in the order in which they start."""
    order = {name: number for number, layer in enumerate(site.topology.start_order) for name in layer}
    processes = site.topology.processes
    return sorted(processes, key=lambda one: (order.get(f"group:{one.group}", 0), one.unit_name, one.host))


def _find_active(site: Site, host: str, units: Sequence[str]) -> list[str]:
    """Those of the units that run, in the order given."""
    output = run_command(site.inventory.host(host), f"systemctl is-active {shlex.join(units)} || true")
    return [
        unit for unit, line in zip(units, output.splitlines(), strict=False) if line.strip() in ("active", "activating")
    ]


def _systemctl(site: Site, host: str, verb: str, units: Sequence[str]) -> None:
    if not units:
        return
    try:
        run_command(site.inventory.host(host), f"systemctl {verb} {shlex.join(units)}", silence=SECONDS)
    except (OSError, ProblemError) as error:
        raise ProblemError([Problem(f"cannot {verb} {', '.join(units)}: {error}", key=host)]) from None
