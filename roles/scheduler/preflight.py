"""What is checked before passes are scheduled."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from groundwork.preflight.findings import SITE, Finding, Severity, judge, judge_problems, skip
from groundwork.preflight.questions import Answers
from groundwork.problems import ProblemError
from groundwork.site import Site
from roles.scheduler import plan
from roles.scheduler.settings import read_settings


def check_site(site: Site) -> Iterator[Finding]:
    """That what is declared can be scheduled; what is left out is named."""
    try:
        plan.check_platform(site.platform, site.topology)
    except ProblemError as error:
        yield from judge_problems("scheduler.declared", error.problems, "", "correct the manifest or the inventory")
    else:
        yield judge("scheduler.declared", SITE, True, f"{len(site.platform.schedules)} schedules are declared", "")
    for name, reason in plan.list_left_out(site.platform).items():
        yield skip("scheduler.left_out", SITE, f"{name}: {reason}")


def ask(site: Site, host: str) -> dict[str, str]:
    """The checkout, its key, and whether systemd reads every calendar."""
    settings = read_settings(site.inventory.host(host).data, host)
    checkout = shlex.quote(settings.controller_checkout)
    calendars = " ".join(shlex.quote(one.calendar) for one in plan.plan_passes(site.platform, site.topology, host))
    reading = 'systemd-analyze calendar "$one" >/dev/null || echo "$one"'
    key = settings.controller_key
    return {
        "scheduler_checkout": f"test -x {checkout}/gw && test -f {checkout}/inventories/{site.environment}.py",
        "scheduler_key": f"stat -c '%U %a' {shlex.quote(key)}" if key else ":",
        "scheduler_calendars": f"for one in {calendars}; do {reading}; done",
    }


def check_host(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """That the timers will have something to run."""
    settings = read_settings(site.inventory.host(host).data, host)
    remedy = "put the project there (docs/roles/scheduler.md), or set controller_checkout"
    good = answers.ok("scheduler_checkout")
    yield judge("scheduler.checkout", host, good, f"{settings.controller_checkout}/gw", remedy)
    if settings.controller_key:
        state = answers.text("scheduler_key")
        remedy = f"install -m 0600 -o root the environment's age key at {settings.controller_key}"
        good = state.startswith("root ") and state.endswith("00")
        yield judge("scheduler.key", host, good, f"{settings.controller_key}: {state or 'missing'}", remedy)
    wrong = answers.lines("scheduler_calendars")
    evidence = f"systemd cannot read {', '.join(wrong)}" if wrong else "systemd reads every calendar"
    yield judge("scheduler.calendars", host, not wrong, evidence, "man systemd.time", Severity.ERROR)
