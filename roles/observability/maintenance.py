"""Maintenance windows as time intervals of Alertmanager, in which nobody is told of anything."""

from __future__ import annotations

import re
from typing import Any

from groundwork.manifest.backup import MaintenanceWindow
from groundwork.problems import Problem, ProblemError

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SHORT = {day[:3]: index for index, day in enumerate(DAYS)}
_CALENDAR = re.compile(
    r"(?:(?P<days>[A-Za-z]{3}[A-Za-z,.]*) +)?\*-\*-(?P<dates>\*|[0-9]{1,2}(?:\.\.[0-9]{1,2})?) +"
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::00)?(?: +(?P<zone>[A-Za-z_/]+))?"
)
ALLOWED = "such as Sun *-*-* 02:00:00 UTC or Sat *-*-1..7 01:00:00 UTC"
MIDNIGHT = 24 * 60


def make_intervals(windows: dict[str, MaintenanceWindow]) -> list[dict[str, Any]]:
    """Return ``time_intervals`` (prometheus.io, "Alerting configuration"), one for each window, by its name.

    Raises ProblemError for calendars that cannot be said so; systemd knows more of them.
    """
    problems: list[Problem] = []
    intervals: list[dict[str, Any]] = []
    for name, window in windows.items():
        try:
            intervals.append({"name": name, "time_intervals": _translate(window)})
        except ValueError as error:
            key = f"maintenance.{name}.calendar"
            problems.append(Problem(str(error), key=key, given=window.calendar, allowed=ALLOWED))
    if problems:
        raise ProblemError(problems)
    return intervals


def _translate(window: MaintenanceWindow) -> list[dict[str, Any]]:
    match = _CALENDAR.fullmatch(window.calendar)
    if match is None:
        raise ValueError("cannot be a time in which alerts are held back")
    weekdays = _read_days(match["days"]) if match["days"] else None
    dates = None if match["dates"] == "*" else match["dates"].replace("..", ":")
    start = int(match["hour"]) * 60 + int(match["minute"])
    end = start + int(window.duration // 60)
    parts: list[dict[str, Any]] = []
    for shift in range(3):
        first, last = max(start - shift * MIDNIGHT, 0), min(end - shift * MIDNIGHT, MIDNIGHT)
        if first >= last or start >= (shift + 1) * MIDNIGHT:
            continue
        if shift and dates:
            raise ValueError("goes past midnight, which days of a month cannot be said to do")
        part: dict[str, Any] = {"times": [{"start_time": _clock(first), "end_time": _clock(last)}]}
        if weekdays is not None:
            part["weekdays"] = [DAYS[(day + shift) % 7] for day in weekdays]
        if dates:
            part["days_of_month"] = [dates]
        if match["zone"] and match["zone"] != "UTC":
            part["location"] = match["zone"]
        parts.append(part)
    return parts


def _read_days(text: str) -> list[int]:
    chosen: list[int] = []
    for part in text.lower().split(","):
        first, _, last = part.partition("..")
        if first[:3] not in _SHORT or (last and last[:3] not in _SHORT):
            raise ValueError("names a day that is none")
        begin, end = _SHORT[first[:3]], _SHORT[(last or first)[:3]]
        chosen += [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
    return sorted(set(chosen))


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
