"""Checks the hosts of an environment over SSH, one script for each, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from groundwork.engine.asking import ask_hosts, run_command
from groundwork.engine.selection import select_hosts
from groundwork.inventory import InventoryHost
from groundwork.problems import Problem, ProblemError
from groundwork.report.hardening import HardeningReport, HostReport, Level
from groundwork.site import Site
from roles.hardening import plan
from roles.hardening.catalogue import select
from roles.hardening.questions import ask, list_questions, parse_answers
from roles.hardening.settings import HardeningSettings, read_settings

DEFAULT = Level.BASELINE
"""The level where neither the command nor the host's data name one."""


def check(site: Site, level: Level | None = None, limit: Sequence[str] = ()) -> HardeningReport:
    """Judge every host by a level, its own by default.

    Raises ProblemError when settings are wrong or the limit matches nothing; nothing was contacted then.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    names = select_hosts(site, "", limit)
    hosts = [site.inventory.host(name) for name in names]
    settings: dict[str, HardeningSettings] = {}
    problems: list[Problem] = []
    for host in hosts:
        try:
            settings[host.name] = read_settings(host.data, host.name)
        except ProblemError as error:
            problems += error.problems
    if problems:
        raise ProblemError(problems)

    def question(host: InventoryHost) -> HostReport:
        return _check_host(site, host, settings[host.name], level)

    found, unreached = ask_hosts(hosts, question)
    errors = {str(problem.key): problem for problem in unreached}
    reports = [
        found.get(name) or HostReport(host=name, error=errors[name].message if name in errors else "no answer")
        for name in names
    ]
    return HardeningReport(
        environment=site.environment,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        hosts=tuple(reports),
    )


def _check_host(site: Site, host: InventoryHost, settings: HardeningSettings, level: Level | None) -> HostReport:
    clock = time.monotonic()
    chosen = level or settings.hardening_level or DEFAULT
    controls = select(chosen)
    output = run_command(host, ask(list_questions(controls)))
    try:
        answers = parse_answers(output)
    except ValueError as error:
        raise ProblemError([Problem(str(error), key=host.name)]) from None
    workloads = plan.list_workloads(site.topology, host.name, site.platform.machines)
    login = str(host.data.get("ssh_user") or "")
    view = plan.make_view(answers, workloads, login, settings.controllers)
    return HostReport(
        host=host.name,
        release=view.release,
        container=view.container,
        level=chosen,
        controls=plan.judge(controls, view, settings.waivers(), datetime.now(UTC).date()),
        seconds=round(time.monotonic() - clock, 3),
    )
