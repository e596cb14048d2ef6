"""Pure functions on snapshots: what differs, and how a baseline follows an apply."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from groundwork.drift.snapshot import Snapshot

ABSENT = "absent"


@dataclass(frozen=True, order=True)
class Difference:
    """One subject that is in another state, or in one snapshot only."""

    category: str
    subject: str
    was: str
    now: str


def compare(before: Snapshot, after: Snapshot) -> Iterator[Difference]:
    """Yield what differs. A category that one of the two lacks (its question was not answered) is passed over."""
    for category in before.keys() & after.keys():
        old, new = before[category], after[category]
        for subject in sorted(old.keys() | new.keys()):
            was, now = old.get(subject, ABSENT), new.get(subject, ABSENT)
            if was != now:
                yield Difference(category, subject, was, now)


def follow(baseline: Snapshot, before: Snapshot, after: Snapshot) -> Snapshot:
    """The baseline with what happened between ``before`` and ``after``, and with nothing that was there before.

    An apply's own changes are right; what somebody did by hand before it is no more right than it was.
    """
    merged = {category: dict(subjects) for category, subjects in baseline.items()}
    for difference in compare(before, after):
        subjects = merged.setdefault(difference.category, {})
        if difference.now == ABSENT:
            subjects.pop(difference.subject, None)
        else:
            subjects[difference.subject] = difference.now
    return merged
