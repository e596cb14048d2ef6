from __future__ import annotations

import base64
import grp
import io
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.connectors.util import write_stdin

from groundwork.operations.placement import (
    Placement,
    ScriptInput,
    build_script,
    compute_digest,
    parse_mode,
)

USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name


def _place(dest: Path, content: bytes, mode: int = 0o640, **more: Any) -> subprocess.CompletedProcess[bytes]:
    script = build_script(Placement(str(dest), USER, GROUP, mode, **more))
    sent = "".join(ScriptInput(content).readlines()).encode()
    return subprocess.run(["sh", "-c", script], input=sent, capture_output=True, check=False)


def _everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("content", [b"", b"no line end", b"two\nlines\n", bytes(range(256)) * 300])
def test_content_mode_and_nothing_else_arrive(tmp_path: Path, content: bytes) -> None:
    dest = tmp_path / "new folder" / "it's $HOME.conf"
    assert _place(dest, content).returncode == 0
    assert dest.read_bytes() == content
    assert dest.stat().st_mode & 0o7777 == 0o640
    assert _everything_below(tmp_path) == {"new folder", "new folder/it's $HOME.conf"}


def test_a_refused_file_leaves_the_old_one_and_says_why(tmp_path: Path) -> None:
    dest = tmp_path / "a.conf"
    dest.write_text("old")
    inode = dest.stat().st_ino
    done = _place(dest, b"new", check="echo line 3 is wrong; cat {candidate}; false")
    assert done.returncode == 1
    assert done.stderr.decode() == f"the check refused {dest}:\nline 3 is wrong\nnew\n"
    assert (dest.read_text(), dest.stat().st_ino) == ("old", inode)
    assert _everything_below(tmp_path) == {"a.conf"}


def test_the_check_of_a_secret_file_says_nothing_of_its_content(tmp_path: Path) -> None:
    done = _place(tmp_path / "a", b"canary-7351", check="cat {candidate}; false", quiet=True)
    assert done.returncode == 1
    assert b"canary" not in done.stdout + done.stderr
    assert b"refused" in done.stderr


def test_the_check_sees_the_new_content_under_its_own_name_while_the_old_is_in_place(tmp_path: Path) -> None:
    dest = tmp_path / "a b.service"
    dest.write_text("old")
    check = [
        "sh",
        "-c",
        f'test "$(basename "$1")" = "a b.service" && cat "{dest}" "$1" >{tmp_path}/seen',
        "x",
        "{candidate}",
    ]
    assert _place(dest, b"new", check=check).returncode == 0
    assert (tmp_path / "seen").read_text() == "oldnew"
    assert dest.read_text() == "new"


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert _place(tmp_path / "link", b"new").returncode == 0
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()


def test_a_directory_in_the_way_fails_and_is_left(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert _place(tmp_path / "a", b"new").returncode != 0
    assert _everything_below(tmp_path) == {"a", "a/b"}


def test_what_a_killed_run_left_is_swept_away(tmp_path: Path) -> None:
    stage = tmp_path / ".groundwork-candidate"
    stage.mkdir()
    (stage / "other").write_text("left over")
    assert _place(tmp_path / "a", b"new").returncode == 0
    assert _everything_below(tmp_path) == {"a"}


def test_a_link_in_place_of_the_staging_directory_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    (tmp_path / ".groundwork-candidate").symlink_to(elsewhere)
    assert _place(tmp_path / "a", b"new").returncode == 0
    assert _everything_below(elsewhere) == {"kept"}


def test_the_candidate_is_nobody_elses_before_its_mode_is_set(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = build_script(Placement(str(tmp_path / "a"), USER, GROUP, 0o600))
    script = script.replace("chown ", f'stat -c %a "$candidate" >{seen}; chown ', 1)
    subprocess.run(["sh", "-c", script], input=b"eA==", check=True)
    assert seen.read_text().strip() == "600"


@given(st.binary(max_size=2000))
def test_pyinfra_delivers_the_bytes_as_they_are(content: bytes) -> None:
    class Pipe(io.BytesIO):
        def close(self) -> None:
            pass

    pipe = Pipe()
    write_stdin(ScriptInput(content), pipe)
    assert base64.b64decode(pipe.getvalue()) == content


def test_input_does_not_show_itself() -> None:
    assert "canary" not in repr(ScriptInput(b"canary")) + str(ScriptInput(b"canary"))


@pytest.mark.parametrize("dest", ["relative", "/a/../b", "/a//b", "/a/", ""])
def test_odd_paths_are_refused(dest: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Placement(dest, "root", "root", 0o644)


def test_a_check_that_would_judge_nothing_is_refused() -> None:
    for check in ("nginx -t", ["nginx", "-t"]):
        with pytest.raises(ValueError, match="candidate"):
            Placement("/etc/x", "root", "root", 0o644, check)


def test_modes() -> None:
    assert parse_mode("0640") == parse_mode("640") == parse_mode(0o640) == 0o640
    for wrong in ("rw-r--r--", "9", 0o10000, -1):
        with pytest.raises(ValueError):
            parse_mode(wrong)


def test_digest_is_what_sha256sum_prints() -> None:
    printed = subprocess.run(["sha256sum"], input=b"x\n", capture_output=True, check=True).stdout.decode()
    assert printed.split()[0] == compute_digest(b"x\n")
