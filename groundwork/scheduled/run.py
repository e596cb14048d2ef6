"""Runs one scheduled pass: waits for the one before, keeps to its window, and writes down what came of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from groundwork.manifest.backup import Schedule
from groundwork.problems import Problem, ProblemError
from groundwork.scheduled.passes import Outcome, PassHistory, PassReport, count_findings
from groundwork.scheduled.tasks import TASKS, why_left_out
from groundwork.scheduled.windows import window_end
from groundwork.site import Site

LONGEST = timedelta(hours=6)
"""A pass without a window is stopped after this."""
GRACE = 60
"""Seconds that a command gets to end by itself once its time is up."""
POLL = 0.5
"""Seconds between two looks at the lock."""


def run_pass(site: Site, name: str, wait: float = 3600.0) -> PassReport:
    """Run a schedule of the manifest now, alone, and keep its report and figures.

    Args:
        site: the environment.
        name: key of ``schedules``.
        wait: seconds to wait for a pass that is running.

    Raises:
        ProblemError: there is no such schedule, its task cannot run unattended, or another pass does not end.
    """
    schedule = find_schedule(site, name)
    history = PassHistory(site)
    with _alone(history, wait):
        started, began = datetime.now(UTC), time.monotonic()
        end = started + LONGEST
        if schedule.window is not None:
            closes = window_end(site.platform.maintenance[schedule.window], started)
            if closes is None:
                told = f"maintenance window {schedule.window} is not open"
                return _keep(site, name, schedule, history, started, began, Outcome.OUTSIDE_WINDOW, 0, told)
            end = closes
        outcome, code, printed = _execute(site, schedule, (end - started).total_seconds())
        try:
            document = json.loads(printed) if printed.strip() else None
        except ValueError:
            document = None
        told = "its time was up" if outcome is Outcome.STOPPED else ""
        return _keep(site, name, schedule, history, started, began, outcome, code, told, document)


def find_schedule(site: Site, name: str) -> Schedule:
    """A schedule whose task can run. Raises ProblemError."""
    schedule = site.platform.schedules.get(name)
    if schedule is None:
        allowed = ", ".join(site.platform.schedules) or "none is declared"
        raise ProblemError([Problem("there is no such schedule", key="schedules", given=name, allowed=allowed)])
    if reason := why_left_out(schedule.task):
        raise ProblemError([Problem(f"cannot be scheduled: {reason}", key=f"schedules.{name}", given=schedule.task)])
    return schedule


def build_command(site: Site, schedule: Schedule) -> list[str]:
    """The command line of a pass, without the program."""
    task = TASKS[schedule.task]
    given = [f"--{key}={value}" for key, value in schedule.arguments.items()]
    return [*task.words, site.environment, *task.options, *given]


def _execute(site: Site, schedule: Schedule, seconds: float) -> tuple[Outcome, int, str]:
    command = [sys.executable, "-m", "groundwork.cli.main", *build_command(site, schedule)]
    environ = {**os.environ, "GROUNDWORK_ROOT": str(site.root)}
    process = subprocess.Popen(
        command, cwd=site.root, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        # As an operator would: once, and the command ends what it has begun.
        process.send_signal(signal.SIGINT)
        try:
            printed, _ = process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, _ = process.communicate()
        return Outcome.STOPPED, process.returncode, printed
    except BaseException:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        process.kill()
        raise
    outcomes = {0: Outcome.SUCCESS, 2: Outcome.FINDINGS}
    return outcomes.get(process.returncode, Outcome.ERROR), process.returncode, printed


@contextlib.contextmanager
def _alone(history: PassHistory, wait: float) -> Iterator[None]:
    """Hold the environment's lock; the kernel lets go of it when this process ends, however it ends."""
    history.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + wait
    with history.lock_file.open("w", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    told = f"another pass has been running for {wait:.0f} s and more"
                    raise ProblemError([Problem(told, file=str(history.lock_file))]) from None
                time.sleep(POLL)
        yield


def _keep(
    site: Site,
    name: str,
    schedule: Schedule,
    history: PassHistory,
    started: datetime,
    began: float,
    outcome: Outcome,
    code: int,
    message: str = "",
    document: Any = None,
) -> PassReport:
    findings, drift = count_findings(schedule.task, document)
    report = PassReport(
        environment=site.environment,
        schedule=name,
        task=schedule.task,
        started=started.isoformat(timespec="milliseconds"),
        finished=datetime.now(UTC).isoformat(timespec="milliseconds"),
        seconds=round(time.monotonic() - began, 3),
        outcome=outcome,
        exit_code=code,
        findings=findings,
        drift=drift,
        message=message,
        document=document,
    )
    history.write(report)
    return report
