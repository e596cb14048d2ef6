from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from groundwork.lab.state import (
    LabHost,
    LabSpec,
    LabState,
    check_name,
    list_names,
    locked,
    remove_locks,
    write_atomically,
)
from groundwork.problems import ProblemError

SPEC = LabSpec("one", "chorus", "trixie", "base:tag", "10.213.0.0/24", (LabHost("app", "10.213.0.11", ("app", "web")),))


def test_spec_survives_a_round_trip_and_is_private(tmp_path):
    state = LabState("one", tmp_path)
    assert state.read_spec() is None
    state.create()
    state.write_spec(SPEC)
    assert state.read_spec() == SPEC
    assert state.folder.stat().st_mode & 0o777 == 0o700
    assert state.spec_file.stat().st_mode & 0o777 == 0o600


def test_a_damaged_state_is_one_clear_error(tmp_path):
    state = LabState("one", tmp_path)
    state.create()
    state.spec_file.write_text("{")
    with pytest.raises(ProblemError, match="lab down"):
        state.read_spec()


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "../x", "a" * 25, "a b"])
def test_names_that_could_not_be_file_or_container_names_are_refused(name):
    with pytest.raises(ProblemError, match="not a usable lab name"):
        check_name(name)


def test_removal_takes_the_folder_and_the_key_but_no_other_lab(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    one, two = LabState("one", tmp_path), LabState("two", tmp_path)
    for state in (one, two):
        state.create()
        state.secrets_key.parent.mkdir(parents=True, exist_ok=True)
        state.secrets_key.write_text("key")
    assert list_names(tmp_path) == ["one", "two"]
    one.remove()
    one.remove()
    assert list_names(tmp_path) == ["two"]
    assert not one.secrets_key.exists()
    assert two.secrets_key.exists()


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    file = tmp_path / "inventory.json"
    write_atomically(file, "old")

    def fail(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["inventory.json"]


def _write_for_ever(path: str) -> None:
    while True:
        for letter in "ab":
            write_atomically(Path(path), letter * 50_000)


def test_a_reader_never_sees_half_a_file_even_when_the_writer_is_killed(tmp_path):
    file = tmp_path / "inventory.json"
    write_atomically(file, "a" * 50_000)
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(str(file),))
    process.start()
    seen = set()
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        seen.add(file.read_text())
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    seen.add(file.read_text())
    assert seen == {"a" * 50_000, "b" * 50_000}


def test_a_lock_is_exclusive_and_free_again_afterwards(tmp_path):
    path = tmp_path / "locks" / "one"
    with locked(path) as first, locked(path, wait=False) as second:
        assert first is True
        assert second is False
    with locked(path, shared=True) as first, locked(path, shared=True, wait=False) as second:
        assert (first, second) == (True, True)


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_on_the_new_file(tmp_path):
    path = tmp_path / "locks" / "one"
    with ThreadPoolExecutor() as pool:
        with locked(path):
            waiting = pool.submit(lambda: locked(path).__enter__() and path.exists())
            while not _is_waited_for(path):
                time.sleep(0.01)
            path.unlink()
        assert waiting.result(timeout=10)


def _is_waited_for(path: Path) -> bool:
    inode = f":{path.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_only_locks_that_nobody_holds_are_removed(tmp_path):
    folder = tmp_path / "locks"
    with locked(folder / "held", shared=True):
        with locked(folder / "free"):
            pass
        remove_locks(folder)
        assert [path.name for path in folder.iterdir()] == ["held"]
    remove_locks(folder)
    assert not folder.exists()
    remove_locks(folder)


def test_two_checkouts_share_no_key(tmp_path: Path) -> None:
    keys = {LabState("default", tmp_path / checkout).secrets_key for checkout in ("one", "two")}
    assert len(keys) == 2
