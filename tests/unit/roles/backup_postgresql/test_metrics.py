"""Figures: what was known stays, help is that of every backup, and ages follow schedules."""

from __future__ import annotations

from typing import Any

from roles.backup.onhost.metrics import HELP as OTHERS
from roles.backup_postgresql.onhost import metrics
from roles.backup_postgresql.onhost.calls import Backup, Stanza
from roles.backup_postgresql.onhost.settings import Settings


def make_settings(schedule: str = "daily") -> Settings:
    values: dict[str, Any] = {
        "platform": "shop", "service": "store", "item": "base", "stanza": "s", "configuration": "/c", "account": "x",
        "state": "/s", "metrics": "", "daily": 7, "weekly": 4, "monthly": 12, "full_every": 0, "schedule": schedule,
    }  # fmt: skip
    return Settings(**values)


def test_help_is_that_of_every_backup() -> None:
    """node_exporter shows neither of two files that explain one name in two ways."""
    shared = metrics.HELP.keys() & OTHERS.keys()
    assert len(shared) == 6
    assert {name: metrics.HELP[name] for name in shared} == {name: OTHERS[name] for name in shared}


def test_figures_of_a_failure_keep_those_of_the_last_success() -> None:
    stanza = Stanza((Backup("F", "full", 100, 200, "", "", 5000, 600, True),), "17-1", 1, "17")
    first = metrics.merge(make_settings(), "", metrics.list_samples(stanza))
    failed = metrics.merge(make_settings(), first, metrics.list_run(make_settings(""), 290.0, 300.0, ok=False))
    labels = '{platform="shop",item="base",repository="main"}'
    lines = failed.splitlines()
    assert f"groundwork_backup_last_success_timestamp_seconds{labels} 200" in lines
    assert f"groundwork_backup_last_run_timestamp_seconds{labels} 300" in lines
    assert f"groundwork_backup_failed{labels} 1" in lines
    assert f"groundwork_backup_postgresql_damaged_pages{labels} 1" in lines
    names = [line.split()[2] for line in lines if line.startswith("# HELP")]
    assert len(names) == len(set(names)) == len([line for line in lines if line.startswith("# TYPE")])
    again = metrics.merge(make_settings(), failed, metrics.list_run(make_settings(""), 390.0, 400.0, ok=True))
    assert f"groundwork_backup_failed{labels} 0" in again
    assert f"groundwork_backup_duration_seconds{labels} 10" in again


def test_no_backup_says_nothing_of_a_success() -> None:
    text = metrics.merge(make_settings(), "", metrics.list_samples(Stanza((), "", 0, "")))
    assert "last_success" not in text
    assert 'postgresql_backups{platform="shop",item="base",repository="main"} 0' in text
