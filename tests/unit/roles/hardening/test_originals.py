"""What was there is kept once and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from roles.hardening.onhost.keep import Originals


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "kept")


def keep(folder: str, **task: object) -> None:
    Originals(folder).keep(dict(task))


def test_content_mode_and_absence_come_back(tmp_path: Path, folder: str) -> None:
    file, new = tmp_path / "login.defs", tmp_path / "ours.conf"
    file.write_text("UMASK 022\n")
    file.chmod(0o644)
    keep(folder, contents=[str(file), str(new)])
    file.write_text("UMASK 027\n")
    file.chmod(0o600)
    new.write_text("ours\n")
    assert Originals(folder).restore() == []
    assert file.read_text() == "UMASK 022\n"
    assert file.stat().st_mode & 0o777 == 0o644
    assert not new.exists()


def test_only_the_first_state_counts(tmp_path: Path, folder: str) -> None:
    file = tmp_path / "file"
    file.write_text("first\n")
    keep(folder, contents=[str(file)], undo=[["do", f"touch {tmp_path}/undone"]])
    file.write_text("second\n")
    keep(folder, contents=[str(file)], undo=[["do", "false"]])
    assert Originals(folder).restore() == []
    assert file.read_text() == "first\n"
    assert (tmp_path / "undone").exists()


def test_attributes_alone_leave_the_content(tmp_path: Path, folder: str) -> None:
    file = tmp_path / "shadow"
    file.write_text("old\n")
    file.chmod(0o644)
    keep(folder, attributes=[str(file)])
    file.chmod(0o600)
    file.write_text("a new password\n")
    Originals(folder).restore()
    assert file.read_text() == "a new password\n"
    assert file.stat().st_mode & 0o777 == 0o644


def test_what_is_replaced_is_kept_aside(tmp_path: Path, folder: str) -> None:
    file = tmp_path / "file"
    file.write_text("first\n")
    keep(folder, contents=[str(file)])
    file.write_text("an operator's later words\n")
    Originals(folder).restore()
    aside = list(Path(folder).glob("replaced-*/*"))
    assert [path.read_text() for path in aside] == ["an operator's later words\n"]
    assert Path(folder).stat().st_mode & 0o777 == 0o700


def test_a_failed_command_is_told_and_the_rest_goes_on(tmp_path: Path, folder: str) -> None:
    keep(folder, undo=[["a", f"touch {tmp_path}/late"], ["b", "echo no >&2; false"]])
    failed = Originals(folder).restore()
    assert failed == ["echo no >&2; false: no"]
    assert (tmp_path / "late").exists()
