"""How old the newest set of a schedule may be, by systemd's own reading of the schedule."""

from __future__ import annotations

import itertools
import os
import subprocess
from datetime import datetime

from .settings import JobError

LOOKAHEAD = 8
"""Times of a schedule that are looked at for its longest pause."""
GRACE = 1800.0
"""Seconds by which a backup may be late at least: its random delay, its run, and a busy host."""


def maximum_age(schedule: str) -> float:
    """Seconds that the newest set of a schedule may be old: its longest pause and half of it, 30 minutes at least."""
    words = ["systemd-analyze", "calendar", f"--iterations={LOOKAHEAD}", schedule]
    environment = {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"}
    result = subprocess.run(words, env=environment, capture_output=True, text=True)
    times = [_read_time(line) for line in result.stdout.splitlines() if "Next elapse:" in line or "Iter" in line]
    known = [one for one in times if one is not None]
    if len(known) < 2:
        raise JobError(f"systemd gives no times for the schedule {schedule!r}")
    pause = max((b - a).total_seconds() for a, b in itertools.pairwise(known))
    return pause + max(GRACE, pause / 2)


def _read_time(line: str) -> datetime | None:
    words = line.split(":", 1)[1].split()
    if len(words) < 3:
        return None
    return datetime.fromisoformat(f"{words[1]}T{words[2]}+00:00")
