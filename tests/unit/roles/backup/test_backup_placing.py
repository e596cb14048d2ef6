"""Putting data back: files one by one, Redis's as its server will look for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from roles.backup.onhost import checking, restore_files, restore_redis
from roles.backup.onhost.describing import BackupSet, find_real, hash_file
from roles.backup.onhost.restore_state import read_unfinished, write_state
from roles.backup.onhost.restoring import choose_sets, compare_tree
from roles.backup.onhost.retention import set_time
from roles.backup.onhost.settings import JobError, Settings


def make(tmp_path: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "environment": "lab", "platform": "chorus", "item": "notes", "kind": "files", "host": "data", "service": "",
        "uri": "", "hosts": ("data",), "schedule": "hourly", "retention": {}, "places": (), "paths": (), "servers": (),
        "certificate": "", "key": "", "authority": "", "version": "", "state": str(tmp_path / "state"),
    }  # fmt: skip
    return Settings(**values | changes)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A live folder, the tree of a set of it, and the set's description."""
    live = tmp_path / "live"
    tree = tmp_path / "tree"
    copy = tree / str(live).lstrip("/")
    for folder in (live, copy):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep/one").write_text("one")
        (folder / "two").write_text("two")
        (folder / "two").chmod(0o640)
        (folder / "link").symlink_to("two")
    files = [path for path in sorted(live.rglob("*")) if path.is_file() and not path.is_symlink()]
    objects = [{"path": str(path), "size": path.stat().st_size, "sha256": hash_file(path)} for path in files]
    return live, tree, {"set": "s", "objects": objects}


def test_what_differs_is_put_back_and_what_came_later_stays(
    tmp_path: Path, saved: tuple[Path, Path, dict[str, Any]]
) -> None:
    live, tree, description = saved
    settings = make(tmp_path, paths=(str(live),))
    assert restore_files.place(settings, description, tree) == {"folders": 0, "files": 0, "links": 0}
    (live / "deep/one").unlink()
    (live / "deep").rmdir()
    (live / "two").chmod(0o600)
    (live / "link").unlink()
    (live / "link").symlink_to("elsewhere")
    (live / "later").write_text("later")
    live.chmod(0o711)
    live.parent.chmod(0o711)
    assert restore_files.place(settings, description, tree) == {"folders": 2, "files": 2, "links": 1}
    assert (live / "deep/one").read_text() == "one"
    # The item's own folder has its rights again; the one above it is none of its business.
    assert (live.stat().st_mode & 0o777, live.parent.stat().st_mode & 0o777) == (0o755, 0o711)
    assert (live / "two").stat().st_mode & 0o777 == 0o640
    assert (live / "link").readlink() == Path("two")
    assert (live / "later").read_text() == "later"
    assert restore_files.compare(settings, description, tree) == {"compared": 2}
    assert not list(live.rglob(".*groundwork*"))
    (live / "two").write_text("too")
    with pytest.raises(JobError, match="not as they were saved"):
        restore_files.compare(settings, description, tree)


def test_a_tree_that_is_not_the_set_is_refused(saved: tuple[Path, Path, dict[str, Any]]) -> None:
    live, tree, description = saved
    compare_tree(tree, description)
    copy = tree / str(live).lstrip("/")
    (copy / "two").write_text("too")
    with pytest.raises(JobError, match="is not what was saved"):
        compare_tree(tree, description)
    (copy / "two").unlink()
    with pytest.raises(JobError, match="1 files are missing"):
        compare_tree(tree, description)


def test_a_snapshot_becomes_the_base_of_an_append_only_file(tmp_path: Path) -> None:
    folder, saved = tmp_path / "data", tmp_path / "saved"
    (folder / "appendonly").mkdir(parents=True)
    (folder / "appendonly/appendonly.aof.7.incr.aof").write_text("of another time")
    saved.mkdir()
    (saved / "dump.rdb").write_bytes(b"REDIS0011")
    restore_redis._lay_down(folder, saved / "dump.rdb", append=True)
    assert sorted(path.name for path in (folder / "appendonly").iterdir()) == [
        "appendonly.aof.1.base.rdb",
        "appendonly.aof.1.incr.aof",
        "appendonly.aof.manifest",
    ]
    assert (folder / "appendonly/appendonly.aof.1.base.rdb").read_bytes() == b"REDIS0011"
    assert not (folder / "dump.rdb").exists()
    restore_redis._lay_down(folder, saved / "dump.rdb", append=False)
    assert (folder / "dump.rdb").read_bytes() == b"REDIS0011"
    assert not (folder / "appendonly").exists()


def test_names_that_are_no_text_are_found_again(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).mkdir()
    (tmp_path / name / "one").write_text("one")
    shown = str(tmp_path / "caf\N{REPLACEMENT CHARACTER}" / "one")
    assert find_real(shown) == tmp_path / name / "one"
    (tmp_path / os.fsdecode(b"caf\xe8")).mkdir()
    with pytest.raises(JobError, match="not the only one like it"):
        find_real(shown)


def test_the_best_set_for_a_moment_comes_first() -> None:
    sets = [BackupSet(f"2026112{day}T000000Z-00000000", "data", "d", "e") for day in range(5)]
    other = BackupSet("20261126T000000Z-00000000", "app", "d", "e")
    assert [one.name[:8] for one in choose_sets([*sets, other], "data", None, "")][:2] == ["20261124", "20261123"]
    moment = set_time("20261122T120000Z-00000000")
    assert choose_sets(sets, "data", moment, "")[0].name.startswith("20261122")
    assert choose_sets(sets, "data", None, sets[1].name) == [sets[1]]


def test_a_half_placed_restore_is_unfinished(tmp_path: Path) -> None:
    settings = make(tmp_path)
    assert read_unfinished(settings) == ""
    for phase, told in (("fetched", ""), ("placing", "s"), ("placed", "s"), ("done", "")):
        write_state(settings, {"set": "s", "phase": phase})
        assert read_unfinished(settings) == told


def describe(slots: list[str]) -> dict[str, Any]:
    return {"counts": {"cache-1": {"keys": 1, "slots": slots}, "objects": {"files": 1}}}


def test_ages_are_judged_for_every_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "maximum_age", lambda _: 7200.0)
    settings = make(tmp_path, hosts=("one", "two"))
    newest = {name: BackupSet(f"of-{name}", name, "d", "e") for name in ("one", "two")}
    told = checking.judge_age(settings, {"one": 10.0}, {"of-one": {"counts": {}}}, newest)
    assert told == ["there is no set of two"]
    descriptions: dict[str, Any] = {"of-one": {"counts": {}}, "of-two": {"counts": {}}}
    told = checking.judge_age(settings, {"one": 10.0, "two": 9000.0}, descriptions, newest)
    assert told == ["the newest set of two is 2.5 h old; at most 2.0 h"]


def test_a_cluster_is_whole_when_its_slots_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "maximum_age", lambda _: 7200.0)
    settings = make(tmp_path, kind="redis", hosts=("one", "two"))
    newest = {name: BackupSet(f"of-{name}", name, "d", "e") for name in ("one", "two")}
    ages = {"one": 10.0, "two": 10.0}
    whole = {"of-one": describe(["0-8191"]), "of-two": describe(["8192-16382", "16383"])}
    assert checking.judge_age(settings, ages, whole, newest) == []
    part = {"of-one": describe(["0-8191"]), "of-two": describe(["8192-16000"])}
    assert "a master of the cluster is not backed up" in checking.judge_age(settings, ages, part, newest)[0]
    # A replica's host makes none while the master's does; two that make none are late.
    alone = {"of-one": describe([])}
    assert checking.judge_age(settings, {"one": 10.0}, alone, newest) == []
    assert len(checking.judge_age(settings, {"one": 9000.0}, alone, newest)) == 2
