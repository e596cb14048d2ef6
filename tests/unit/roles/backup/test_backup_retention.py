"""Which sets stay: tried with any history, against the sentence that says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from roles.backup.onhost.describing import BackupSet
from roles.backup.onhost.keeping import choose_all_kept
from roles.backup.onhost.retention import choose_kept, set_time

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def name(age: timedelta, number: int = 0) -> str:
    return f"{(NOW - age).strftime('%Y%m%dT%H%M%SZ')}-{number:08x}"


def test_hourly_sets_are_thinned_to_days_weeks_and_months() -> None:
    names = [name(timedelta(hours=hours)) for hours in range(24 * 400)]
    kept = choose_kept(names, {"daily": 7, "weekly": 4, "monthly": 12}, NOW)
    ages = sorted((NOW - set_time(one)).total_seconds() / 86_400 for one in kept)
    assert sum(age <= 1 for age in ages) == 25
    days = {set_time(one).date() for one in kept}
    assert all((NOW - timedelta(days=back)).date() in days for back in range(7))
    assert len({set_time(one).strftime("%Y-%m") for one in kept}) == 12
    assert len(kept) <= 25 + 7 + 4 + 12


def test_the_newest_stays_whatever_its_age() -> None:
    old = [name(timedelta(days=900)), name(timedelta(days=901))]
    assert choose_kept(old, {"daily": 0, "weekly": 0, "monthly": 0}, NOW) == {old[0]}
    assert choose_kept([], {"daily": 7}, NOW) == set()


@given(
    st.lists(st.integers(0, 3600 * 24 * 800), max_size=60, unique=True),
    st.fixed_dictionaries({"daily": st.integers(0, 9), "weekly": st.integers(0, 5), "monthly": st.integers(0, 6)}),
)
def test_any_history(seconds: list[int], retention: dict[str, int]) -> None:
    names = [name(timedelta(seconds=one)) for one in seconds]
    kept = choose_kept(names, retention, NOW)
    assert kept <= set(names)
    assert not names or max(names) in kept
    assert {one for one in names if NOW - set_time(one) <= timedelta(hours=24)} <= kept
    old = [one for one in kept if NOW - set_time(one) > timedelta(hours=24) and one != max(names)]
    assert len(old) <= sum(retention.values())
    # Thinning again takes nothing more: what stays does not depend on how often it runs.
    assert choose_kept(kept, retention, NOW) == kept
    # A set that stays tomorrow is one that stays today.
    assert choose_kept(names, retention, NOW + timedelta(days=1)) <= kept | {max(names, default="")}


def test_one_hosts_newest_displaces_no_other_hosts() -> None:
    fresh = [BackupSet(name(timedelta(hours=hours)), "one", "d", "e") for hours in range(200)]
    silent = BackupSet(name(timedelta(days=200)), "two", "d", "e")
    assert silent.name in choose_all_kept([*fresh, silent], {"daily": 1, "weekly": 0, "monthly": 0}, NOW)
