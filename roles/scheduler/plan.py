"""Which timers the controller host gets, decided from the manifest alone."""

from __future__ import annotations

from dataclasses import dataclass

from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.scheduled.tasks import why_left_out
from groundwork.topology.model import Topology
from groundwork.topology.roles import CONTROLLER

SPREAD = 900
"""Seconds by which a start is put off at random, at most."""
SHARE_OF_WINDOW = 0.1
"""Of a maintenance window, what may pass before the start."""


@dataclass(frozen=True)
class Pass:
    """One schedule that runs here."""

    schedule: str
    task: str
    calendar: str
    delay: int
    """Seconds of random delay at most."""
    unit: str
    """Name of service and timer without suffix."""


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError for what cannot be scheduled as it is declared."""
    hosts = [host.name for host in topology.inventory.group(CONTROLLER)]
    problems: list[Problem] = []
    if len(hosts) > 1:
        told = "only one host can be the controller: two would run every pass twice"
        problems.append(
            Problem(told, topology.inventory.file, key=CONTROLLER, given=", ".join(hosts), allowed="one host")
        )
    for name, schedule in platform.schedules.items():
        if schedule.task == "harden_enforce" and schedule.window is None:
            told = "changes hosts, so it needs a maintenance window"
            allowed = ", ".join(platform.maintenance) or "declare one below maintenance"
            problems.append(Problem(told, key=f"schedules.{name}.window", given=schedule.task, allowed=allowed))
    if problems:
        raise ProblemError(problems)


def plan_passes(platform: Platform, topology: Topology, host: str) -> list[Pass]:
    """The passes of one host: every schedule that can run, where the host is the controller."""
    if CONTROLLER not in topology.inventory.host(host).groups:
        return []
    passes = []
    for name, schedule in platform.schedules.items():
        if why_left_out(schedule.task):
            continue
        delay = SPREAD
        if schedule.window is not None:
            delay = min(SPREAD, int(platform.maintenance[schedule.window].duration * SHARE_OF_WINDOW))
        unit = f"groundwork-{platform.platform}-{name}"
        passes.append(Pass(name, schedule.task, schedule.calendar, delay, unit))
    return passes


def list_left_out(platform: Platform) -> dict[str, str]:
    """Schedules that get no timer, with the reason."""
    found = {name: why_left_out(schedule.task) for name, schedule in platform.schedules.items()}
    return {name: reason for name, reason in found.items() if reason}


def publisher_path(platform: str) -> str:
    """The program that copies a pass's figures to where node_exporter reads them."""
    return f"/usr/local/lib/groundwork/{platform}/publish-metrics"


def list_items(platform: str, passes: list[Pass]) -> list[Item]:
    """What is removed when it is no longer declared."""
    items = [Item("unit", f"{one.unit}.{kind}") for one in passes for kind in ("timer", "service")]
    return [*items, Item("file", publisher_path(platform))] if passes else []
