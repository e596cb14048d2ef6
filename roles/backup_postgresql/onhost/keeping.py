"""Which backups go: pgBackRest counts, a policy names days, weeks and months."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .calls import Backup

DAY = 86_400


@dataclass(frozen=True)
class Expiry:
    """What goes."""

    labels: tuple[str, ...]
    """Full backups; what builds on one goes with it."""
    log_fulls: int
    """So many of the newest full backups keep the whole log after them; older ones keep what they need themselves."""


def choose_expiry(backups: Sequence[Backup], daily: int, weekly: int, monthly: int, now: float) -> Expiry:
    """Choose by the start of full backups, in UTC.

    Every moment of the last ``daily`` days stays restorable: all full backups of that time stay, the newest one before
    it, and all log since. Besides them stay the newest full backup of each of the last ``weekly`` weeks (ISO 8601) and
    ``monthly`` months. The newest full backup always stays.
    """
    fulls = sorted((one for one in backups if one.kind == "full"), key=lambda one: one.started)
    if not fulls:
        return Expiry((), 1)
    recent = [one for one in fulls if one.started >= now - daily * DAY]
    older = [one for one in fulls if one.started < now - daily * DAY]
    span = [*(older[-1:] if daily or not recent else []), *recent]
    kept = {one.label for one in span} | {fulls[-1].label}
    moment = datetime.fromtimestamp(now, UTC)
    weeks = {(moment - timedelta(weeks=n)).isocalendar()[:2] for n in range(weekly)}
    months = {_back(moment, n) for n in range(monthly)}
    newest_of_week: dict[tuple[int, int], str] = {}
    newest_of_month: dict[tuple[int, int], str] = {}
    for one in fulls:
        started = datetime.fromtimestamp(one.started, UTC)
        newest_of_week[started.isocalendar()[:2]] = one.label
        newest_of_month[started.year, started.month] = one.label
    kept |= {label for week, label in newest_of_week.items() if week in weeks}
    kept |= {label for month, label in newest_of_month.items() if month in months}
    gone = tuple(one.label for one in fulls if one.label not in kept)
    return Expiry(gone, max(1, len(span)))


def _back(moment: datetime, months: int) -> tuple[int, int]:
    """Year and month so many months before."""
    number = moment.year * 12 + moment.month - 1 - months
    return number // 12, number % 12 + 1
