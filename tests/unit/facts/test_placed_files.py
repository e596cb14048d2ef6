from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from pyinfra.api import FactBase

from groundwork.facts.placed_files import ChangeTimes, PlacedFile
from groundwork.operations.placement import compute_digest


def _ask(fact: FactBase, **arguments: object) -> object:
    command = fact.command(**arguments).get_raw_value()  # type: ignore[union-attr]
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    return fact.process(lines) if lines else fact.default()


@pytest.mark.parametrize("name", ["plain", "with blank", "it's", "-rf", "$(id)"])
def test_a_file_is_described(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"content")
    path.chmod(0o4750)
    state = _ask(PlacedFile(), path=str(path))
    assert isinstance(state, dict)
    assert (state["kind"], state["mode"], state["digest"]) == ("file", 0o4750, compute_digest(b"content"))
    assert state["user"] and state["group"]


def test_what_is_no_file_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert _ask(PlacedFile(), path=str(tmp_path / "dangling")) == {
        "kind": "link", "user": "", "group": "", "mode": 0, "digest": ""
    }  # fmt: skip
    assert _ask(PlacedFile(), path=str(tmp_path))["kind"] == "other"  # type: ignore[index]
    assert _ask(PlacedFile(), path=str(tmp_path / "no" / "such")) is None


def test_change_times_move_with_a_rename_and_leave_out_what_is_missing(tmp_path: Path) -> None:
    old, new = tmp_path / "old file", tmp_path / "new"
    old.write_text("x")
    os.utime(old, (1, 1))
    before = _ask(ChangeTimes(), paths=[str(old), str(tmp_path / "none")])
    assert isinstance(before, dict)
    assert list(before) == [str(old)]
    assert before[str(old)] > 1_000_000_000
    old.rename(new)
    after = _ask(ChangeTimes(), paths=[str(new)])
    assert isinstance(after, dict)
    assert after[str(new)] >= before[str(old)]
    assert _ask(ChangeTimes(), paths=[str(tmp_path / "none")]) == {}
