"""What to ask journals for, checked before a host is contacted, and how journalctl is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from groundwork.manifest.values import parse_duration
from groundwork.problems import Problem, ProblemError

LINES, MOST_LINES = 1000, 100_000
"""Lines that are shown where nothing else is said, and at most: the newest of all hosts together."""
_TRACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{3,127}")
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\*?\[\]-]{1,255}")
_TIMES = "a duration such as 15m, 2h or 7d before now, or a time such as 2026-11-25T19:30 or 2026-11-25T19:30:00+01:00"


@dataclass(frozen=True)
class Question:
    """Which lines are asked for; empty and None mean any. ``since`` and ``until`` are seconds since 1970."""

    unit: str = ""
    """A unit of systemd, or a pattern such as ``chorus-agent-*``."""
    since: float | None = None
    until: float | None = None
    grep: str = ""
    """Perl-compatible regular expression; where it is all lower case, capitals do not matter (journalctl(1))."""
    trace: str = ""
    """Identifier of a trace or request."""
    lines: int = LINES

    def list_queries(self) -> list[list[str]]:
        """Return journalctl's arguments, one list for each run that it takes.

        A trace is looked for as a word of the message and as the field ``TRACE_ID``.
        """
        base: list[str] = []
        base += [f"--unit={self.unit}"] if self.unit else []
        # journalctl takes microseconds behind the point.
        base += [f"--since=@{self.since:.6f}"] if self.since is not None else []
        base += [f"--until=@{self.until:.6f}"] if self.until is not None else []
        if not self.trace:
            return [[*base, *([f"--grep={self.grep}"] if self.grep else [])]]
        word = rf"(?<![0-9A-Za-z])\Q{self.trace}\E(?![0-9A-Za-z])"
        # Both at any place of the line; the pattern with its own rule about capitals, which ``word`` would change.
        own = f"(?i:{self.grep})" if self.grep == self.grep.lower() else f"(?:{self.grep})"
        pattern = rf"(?s)^(?=.*{word})(?=.*{own})" if self.grep else word
        field = [f"--grep={self.grep}"] if self.grep else []
        return [[*base, f"--grep={pattern}"], [*base, *field, f"TRACE_ID={self.trace}"]]


def make_question(
    unit: str = "",
    since: str = "",
    until: str = "",
    grep: str = "",
    trace: str = "",
    lines: int = LINES,
    now: datetime | None = None,
) -> Question:
    """Return the question that options of the command line mean.

    ``since`` and ``until`` are durations before ``now`` or ISO 8601 times, of the controller's zone where they name
    none. Raises ProblemError with everything that is wrong about them.
    """
    now = now or datetime.now(UTC)
    problems: list[Problem] = []
    times: dict[str, float | None] = {}
    for name, text in (("since", since), ("until", until)):
        try:
            times[name] = _read_time(text, now) if text else None
        except ValueError:
            problems.append(Problem("is no time", key=f"--{name}", given=text, allowed=_TIMES))
    begin, end = times.get("since"), times.get("until")
    if begin is not None and end is not None and begin >= end:
        problems.append(Problem("is not after --since", key="--until", given=until, allowed=f"a time after {since}"))
    if unit and not _UNIT.fullmatch(unit):
        problems.append(Problem("is no unit", key="--unit", given=unit, allowed="a unit or a pattern, as redis*"))
    parent = _PARENT.fullmatch(trace)
    trace = parent[1] if parent else trace
    if trace and not _TRACE.fullmatch(trace):
        allowed = "32 hexadecimal digits, a traceparent, or another identifier of 4 to 128 letters, digits and _.:/-"
        problems.append(Problem("is no identifier of a trace", key="--trace-id", given=trace, allowed=allowed))
    if "\n" in grep:
        problems.append(Problem("is more than one line", key="--grep", given=grep.splitlines()[0]))
    if not 1 <= lines <= MOST_LINES:
        problems.append(Problem("is out of range", key="--lines", given=str(lines), allowed=f"1 to {MOST_LINES}"))
    if problems:
        raise ProblemError(problems)
    return Question(unit, begin, end, grep, trace, lines)


def _read_time(text: str, now: datetime) -> float:
    """Seconds since 1970; raises ValueError."""
    try:
        seconds = parse_duration(text.removesuffix(" ago"))
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.astimezone()).timestamp()
    try:
        return (now - timedelta(seconds=seconds)).timestamp()
    except OverflowError as error:
        raise ValueError(text) from error
