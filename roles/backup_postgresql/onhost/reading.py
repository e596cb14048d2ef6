"""What is wrong with an archive, read from pgBackRest's answers: ``verify`` ends with 0 whatever it finds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .calls import Backup

SEGMENTS = 0x100
"""Segments of 16 MiB in one log file number (PostgreSQL, "WAL Internals")."""
_SEGMENT = re.compile(r"^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(-[0-9a-f]{40}.*)?$")
_SUBJECT = re.compile(r"^\s*(?:archiveId: (?P<archive>\S+?),|backup: (?P<backup>\S+?), status: (?P<status>[^,]+),?)")
_COUNTS = re.compile(r"(missing|checksum invalid|size invalid|other): (\d+)")
_TOTALS = re.compile(r"total (?:WAL|files) checked: (\d+), total valid (?:WAL|files): (\d+)")


def read_verification(text: str) -> tuple[int, list[str]]:
    """Read what ``verify --output=text --verbose`` printed: how many objects were read back, and what is wrong.

    A text that names no stanza's status counts as wrong: nothing was verified then.
    """
    problems: list[str] = []
    subject, checked = "", 0
    lines = text.splitlines()
    status = next((line.split("status: ")[1].strip() for line in lines if line.strip().startswith("status: ")), None)
    if status is None:
        status = next((line.split("status: ")[1].strip() for line in lines if "status: " in line), None)
    for line in lines:
        if match := _SUBJECT.match(line):
            subject = f"archive {match['archive']}" if match["archive"] else f"backup {match['backup']}"
            state = match["status"]
            if state and state.strip() not in ("valid", "in-progress"):
                problems.append(f"{subject} is {state.strip()}")
        if totals := _TOTALS.search(line):
            checked += int(totals[1])
        for what, count in _COUNTS.findall(line):
            if int(count):
                problems.append(f"{subject}: {count} objects {_MEANING[what]}")
    if status is None:
        problems.append("nothing could be verified")
    elif status != "ok" and not problems:
        problems.append(f"the verification says {status}: {' '.join(text.split())[:300]}")
    return checked, problems


_MEANING = {
    "missing": "are missing",
    "checksum invalid": "have an invalid checksum",
    "size invalid": "have an invalid size",
    "other": "cannot be read",
}


def segment_number(name: str) -> tuple[int, int] | None:
    """Timeline and running number of a segment; None for what is no segment (histories, labels, partial ones)."""
    match = _SEGMENT.match(name)
    if match is None:
        return None
    return int(match[1], 16), int(match[2], 16) * SEGMENTS + int(match[3], 16)


def _name(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number // SEGMENTS:08X}{number % SEGMENTS:08X}"


@dataclass(frozen=True)
class Gap:
    """Segments that are not in the archive, one after the other on one timeline."""

    first: str
    count: int
    needed: bool
    """Whether a backup cannot be restored at all without them."""
    past: bool
    """Whether a later backup was begun after them, so that what is archived from then on is whole again."""

    @property
    def text(self) -> str:
        """What it means, in a line."""
        if self.needed:
            return f"the log lacks {self.count} segments from {self.first} that a backup needs: it cannot be restored"
        until = "before the next backup" if self.past else "until the next backup"
        return f"the log lacks {self.count} segments from {self.first}: no moment in them, or {until}, can be restored"


def find_gaps(names: Iterable[str], backups: Sequence[Backup]) -> Iterator[Gap]:
    """Yield what is missing of the log between the oldest and the newest segment of each timeline.

    A backup that is kept for longer than the log after it leaves a pause, which is no gap.
    """
    found: dict[int, set[int]] = {}
    for name in names:
        if place := segment_number(name):
            found.setdefault(place[0], set()).add(place[1])
    places = [(segment_number(one.first_log), segment_number(one.last_log)) for one in backups]
    spans = [(first[0], first[1], last[1]) for first, last in places if first and last]
    for timeline in sorted({*found, *(span[0] for span in spans)}):
        here = [span for span in spans if span[0] == timeline]
        needed = {n for _, first, last in here for n in range(first, last + 1)}
        numbers = found.get(timeline, set())
        known = numbers | needed
        starts, ends = {first for _, first, _ in here}, {last for _, _, last in here}
        newer = any(other[0] > timeline for other in spans)
        for first, last in _holes(numbers, known):
            pause = first - 1 in ends and last + 1 in starts and not needed & {*range(first, last + 1)}
            if not pause:
                past = newer or any(start > last for start in starts)
                yield Gap(_name(timeline, first), last - first + 1, bool(needed & {*range(first, last + 1)}), past)


def _holes(numbers: set[int], known: set[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of numbers that are not there, within what is known."""
    begun: int | None = None
    for number in range(min(known), max(known) + 2):
        if number in numbers or number == max(known) + 1:
            if begun is not None:
                yield begun, number - 1
            begun = None
        elif begun is None:
            begun = number
