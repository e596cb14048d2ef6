"""Which sets stay: pure, so that it can be tried with any history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

RECENT = timedelta(hours=24)
"""Everything of the last day stays: hourly backups would otherwise be thinned to one at once."""


def set_time(name: str) -> datetime:
    """The moment in a set's name."""
    return datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def choose_kept(names: Iterable[str], retention: Mapping[str, int], now: datetime) -> set[str]:
    """Return the sets of one host that stay.

    The newest stays whatever its age, and all of the last 24 hours; of older ones the newest of each of the last
    ``daily`` days, ``weekly`` weeks (ISO 8601) and ``monthly`` months that have one, as restic's ``forget`` counts.
    """
    ordered = sorted(names, reverse=True)
    kept = set(ordered[:1]) | {name for name in ordered if now - set_time(name) <= RECENT}
    for period, form in (("daily", "%Y-%m-%d"), ("weekly", "%G-%V"), ("monthly", "%Y-%m")):
        newest: dict[str, str] = {}
        for name in ordered:
            newest.setdefault(set_time(name).strftime(form), name)
        kept.update(list(newest.values())[: retention.get(period, 0)])
    return kept
