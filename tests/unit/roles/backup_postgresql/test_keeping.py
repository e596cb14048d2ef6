"""Which backups go, and which kind is made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from roles.backup_postgresql.onhost.backing import choose_type
from roles.backup_postgresql.onhost.calls import Backup
from roles.backup_postgresql.onhost.keeping import choose_expiry

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def full(days_ago: float) -> Backup:
    started = NOW - timedelta(days=days_ago)
    moment = int(started.timestamp())
    return Backup(f"{started:%Y%m%d-%H%M%S}F", "full", moment, moment + 60, "", "", 1, 1, False)


def choose(backups: list[Backup], daily: int, weekly: int, monthly: int) -> tuple[list[str], int]:
    found = choose_expiry(backups, daily, weekly, monthly, NOW.timestamp())
    return list(found.labels), found.log_fulls


def test_the_full_backup_before_the_kept_days_stays_for_them() -> None:
    backups = [full(n) for n in (20, 13, 10, 3)]
    gone, log = choose(backups, 7, 0, 0)
    # The one of 10 days ago is what the moments of 7 to 3 days ago are restored from.
    assert gone == [full(20).label, full(13).label]
    assert log == 2


def test_weeks_and_months_keep_their_newest() -> None:
    backups = [full(n) for n in range(200, 0, -2)]
    gone, log = choose(backups, 7, 4, 3)
    kept = [one for one in backups if one.label not in gone]
    ages = [(NOW - datetime.fromtimestamp(one.started, UTC)).days for one in kept]
    assert ages == [56, 26, 18, 10, 8, 6, 4, 2]
    assert log == 4


def test_the_newest_always_stays() -> None:
    assert choose([full(400)], 0, 0, 0) == ([], 1)
    assert choose([full(400)], 7, 4, 12) == ([], 1)
    assert choose([full(400), full(399)], 0, 1, 0) == ([full(400).label], 1)
    assert choose([], 7, 4, 12) == ([], 1)


def test_differential_ones_are_not_counted() -> None:
    diff = Backup(f"{full(3).label}_20261124-120000D", "diff", full(1).started, full(1).finished, "", "", 1, 1, False)
    assert choose([full(3), diff], 7, 0, 0) == ([], 1)


def test_a_backup_is_full_where_it_must_be() -> None:
    now = NOW.timestamp()
    assert choose_type("diff", [], 0, now) == "full"
    assert choose_type("full", [full(0)], 0, now) == "full"
    assert choose_type("diff", [full(3)], 0, now) == "diff"
    assert choose_type("diff", [full(8)], 0, now) == "diff"
    assert choose_type("diff", [full(8)], 7 * 86_400, now) == "full"
    # Both timers at the same moment.
    assert choose_type("diff", [full(0.0001)], 0, now) == ""
    assert choose_type("diff", [full(0.0005)], 0, now) == "diff"
