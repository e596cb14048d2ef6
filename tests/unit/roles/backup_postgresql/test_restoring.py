"""Restores: timelines, steps, what is refused, and going on after a failure. Programs are stood in for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from roles.backup_postgresql.onhost import choosing, restoring
from roles.backup_postgresql.onhost.calls import Backup, CallError, Stanza
from roles.backup_postgresql.onhost.server import ServerError
from roles.backup_postgresql.onhost.settings import Settings, read_settings


def make_settings(folder: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "platform": "shop", "service": "store", "item": "database", "stanza": "shop-store", "configuration": "/c",
        "account": "postgres", "state": str(folder), "metrics": "", "daily": 7, "weekly": 4, "monthly": 12,
        "full_every": 0, "restores": str(folder), "data": str(folder), "unit": "pg.service",
        "pool_unit": "pool.service", "databases": ("shop",), **changes,
    }  # fmt: skip
    return Settings(**values)


class Host:
    """What a restore asks of pgBackRest, PostgreSQL and systemd: calls are recorded, and one can be made to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.failing = ""
        self.serving = False
        began = int(time.time())
        self.backups = tuple(
            Backup(f"F{n}", "full", began - ago, began - ago + 10, "", "", 1, 1, False)
            for n, ago in enumerate((3000, 2000, 1000))
        )
        self.archive: dict[str, int] = {}
        self.newest: float | None = None
        for module in (restoring, choosing):
            monkeypatch.setattr(module, "read_stanza", lambda _: Stanza(self.backups, "17-1", 1, "17"))
        monkeypatch.setattr(choosing, "list_archive", lambda *_: self.archive)
        monkeypatch.setattr(restoring, "call", self.call)
        monkeypatch.setattr(restoring, "systemctl", lambda verb, unit: self.note(f"{verb} {unit}"))
        monkeypatch.setattr(restoring, "archive_now", lambda _: self.note("archive"))
        monkeypatch.setattr(restoring, "wait_for_recovery", lambda *_: self.note("recovered"))
        monkeypatch.setattr(restoring, "ask", self.ask)
        monkeypatch.setattr(restoring, "start_recovery", lambda one: self.note(f"start {one.unit}"))
        monkeypatch.setattr(choosing, "find_newest_commit", lambda *_: self.newest)
        monkeypatch.setattr(restoring, "serves", lambda _: self.serving)
        monkeypatch.setattr(restoring, "is_active", lambda _: self.serving)

    def note(self, what: str) -> None:
        self.calls.append(what.split(" --")[0] if not what.startswith("restore") else what)
        if self.failing and what.startswith(self.failing):
            raise ServerError(f"{self.failing} failed")

    def call(self, _: Settings, *words: str) -> str:
        self.note(" ".join(words))
        return ""

    def ask(self, _: Settings, query: str, database: str = "postgres") -> str:
        return "postgres\nshop" if "datname" in query else "place"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def quiet(_: str) -> None:
    pass


def test_clients_are_turned_away_first_and_let_in_last(host: Host, tmp_path: Path) -> None:
    host.serving = True
    state = restoring.restore(make_settings(tmp_path), None, quiet)
    assert state.is_complete
    assert [one.partition(" --")[0] for one in host.calls] == [
        "archive", "stop pool.service", "stop pg.service", "restore", "start pg.service", "recovered",
        "restart pg.service", "recovered", "start pool.service",
    ]  # fmt: skip


def test_a_moment_chooses_the_backup_before_it_and_its_timeline(host: Host, tmp_path: Path) -> None:
    moment = host.backups[2].started - 100.25
    host.archive = {"00000002.history": int(moment - 50), "00000003.history": int(moment + 50), "x": 1}
    restoring.restore(make_settings(tmp_path), moment, quiet)
    (fetch,) = (one for one in host.calls if one.startswith("restore"))
    assert "--set=F1" in fetch
    assert "--target-timeline=2" in fetch
    assert "--type=time" in fetch
    assert "+00 " in fetch


@pytest.mark.parametrize(
    ("histories", "moment", "timeline"),
    [
        ({}, 100.0, None),
        ({"00000002.history": 50}, 49.0, 1),
        ({"00000002.history": 50}, 50.0, 2),
        ({"00000002.history": 50, "0000000A.history": 80}, 79.0, 2),
        ({"00000002.history": 50, "0000000A.history": 80}, 81.0, 10),
    ],
)
def test_timelines_follow_the_clock(histories: dict[str, int], moment: float, timeline: int | None) -> None:
    assert choosing.choose_timeline(histories, moment) == timeline


def test_moments_outside_are_refused_before_anything_stops(host: Host, tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    for moment, told in ((1.0, "before the oldest backup"), (time.time() + 100, "has not been yet")):
        with pytest.raises(choosing.RestoreError, match=told):
            restoring.restore(settings, moment, quiet)
    host.backups = ()
    with pytest.raises(choosing.RestoreError, match="no backup"):
        restoring.restore(settings, None, quiet)
    assert host.calls == []
    assert restoring.read_state(settings) is None


def test_a_moment_after_the_newest_commit_is_refused(host: Host, tmp_path: Path) -> None:
    moment = time.time() - 50.0
    host.newest = moment - 0.25
    with pytest.raises(choosing.RestoreError, match="newest commit that is archived"):
        restoring.restore(make_settings(tmp_path), moment, quiet)
    host.newest = moment + 0.25
    assert restoring.restore(make_settings(tmp_path), moment, quiet).is_complete


@pytest.mark.parametrize("step", ["stop pg", "restore", "start pg", "recovered", "start pool"])
def test_what_failed_is_not_good_and_is_resumed(host: Host, tmp_path: Path, step: str) -> None:
    settings = make_settings(tmp_path)
    host.failing = step
    with pytest.raises((ServerError, CallError)):
        restoring.restore(settings, None, quiet)
    state = restoring.read_state(settings)
    assert state is not None
    assert not state.is_complete
    assert state.error == f"{step} failed"
    host.failing = ""
    assert restoring.resume(settings, quiet).is_complete
    assert host.calls[-1] == "start pool.service"
    with pytest.raises(choosing.RestoreError, match="no restore waits"):
        restoring.resume(settings, quiet)


def test_a_database_that_is_missing_is_not_good(host: Host, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, databases=("shop", "later"))
    with pytest.raises(choosing.RestoreError, match="lacks later"):
        restoring.restore(settings, None, quiet)
    assert "start pool.service" not in host.calls


def test_replicas_are_part_of_it(host: Host, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, replicas=("second",))
    assert not restoring.restore(settings, None, quiet).is_complete
    before = list(host.calls)
    assert restoring.resume(settings, quiet).step == "replicas"
    assert host.calls == before
    assert restoring.finish(settings).is_complete
    with pytest.raises(choosing.RestoreError, match="no restore waits"):
        restoring.finish(settings)


def test_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"platform": "shop", "colour": "blue"}))
    with pytest.raises(ValueError, match="unknown colour"):
        read_settings(path)
