"""Whether a time is within a maintenance window. systemd itself reads the calendar, as it does for the timers."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime, timedelta

from groundwork.manifest.backup import MaintenanceWindow
from groundwork.problems import Problem, ProblemError


def window_end(window: MaintenanceWindow, now: datetime) -> datetime | None:
    """When the window that is open at ``now`` closes; None where none is open.

    Raises ProblemError where systemd does not understand the calendar, or is not there.
    """
    length = timedelta(seconds=window.duration)
    # Look back further and further: a window opens once a week, or every minute, and the latest opening counts.
    back = timedelta(seconds=1)
    while True:
        opened = next_elapse(window.calendar, now - min(back, length))
        if opened is not None and opened <= now:
            break
        if back >= length:
            return None
        back *= 2
    while (following := next_elapse(window.calendar, opened)) is not None and following <= now:
        opened = following
    return opened + length


def next_elapse(calendar: str, after: datetime) -> datetime | None:
    """The first time of a calendar expression (systemd.time(7)) after another; None where there is none."""
    base = after.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    command = ["systemd-analyze", "calendar", f"--base-time={base}", "--", calendar]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=30, env={"LC_ALL": "C", "TZ": "UTC"}
        )
    except OSError as error:
        told = "systemd-analyze is needed to read calendars"
        raise ProblemError([Problem(f"{told}: {error.strerror}", key="calendar", given=calendar)]) from None
    if done.returncode:
        allowed = "a calendar expression: man systemd.time"
        raise ProblemError([Problem("systemd cannot read it", key="calendar", given=calendar, allowed=allowed)])
    match = re.search(r"Next elapse: \w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? UTC", done.stdout)
    return datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if match else None
