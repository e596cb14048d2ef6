"""The file operations as pyinfra runs them, on this machine's own temporary directory."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name
CANARY = "canary-5d0b1c7e9f"
DEPLOY = """
from groundwork.operations import secret_files, validated_files
from groundwork.secrets.value import SecretValue

owner = {{"user": "{user}", "group": "{group}"}}
validated_files.validated_file(
    name="Write the configuration", dest="{folder}/etc/a.conf", content="{text}\\n",
    check=["grep", "-q", "good", "{{candidate}}"], **owner,
)
secret_files.secret_file(
    name="Write the password", dest="{folder}/keys/password", content=SecretValue("{secret}"),
    check="cat {{candidate}} && test good = {text}", **owner,
)
"""


def _run(folder: Path, text: str = "good", secret: str = CANARY, *options: str) -> str:
    deploy = folder / "deploy.py"
    deploy.write_text(DEPLOY.format(user=USER, group=GROUP, folder=folder, text=text, secret=secret))
    command = [sys.executable, "-m", "pyinfra", "@local", str(deploy), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def _changes(output: str) -> dict[str, str]:
    rows = [line.rsplit(None, 2) for line in output.splitlines() if line.strip().startswith("Write the")]
    return {row[0].strip(): row[1] for row in rows if len(row) == 3}


def test_written_once_then_left_alone_and_the_secret_never_shown(tmp_path: Path) -> None:
    plan = _run(tmp_path, "good", CANARY, "--dry", "--diff", "-vvv")
    assert not (tmp_path / "etc").exists()
    assert "Will write secret" in plan
    assert "(absent)" in plan
    assert "+ good" in plan
    first = _run(tmp_path, "good", CANARY, "-y", "--diff", "-vvv")
    assert (tmp_path / "etc" / "a.conf").read_text() == "good\n"
    password = tmp_path / "keys" / "password"
    assert password.read_text() == CANARY
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.parent.stat().st_mode & 0o777 == 0o700
    second = _run(tmp_path, "good", CANARY, "-y", "-vvv", "--debug")
    assert second.count("No changes") == 2
    for output in (plan, first, second):
        assert CANARY not in output
    assert not list(Path("/tmp").glob("pyinfra-*canary*"))


def test_a_wider_mode_is_put_right_without_writing_again(tmp_path: Path) -> None:
    _run(tmp_path, "good", CANARY, "-y")
    password = tmp_path / "keys" / "password"
    inode = password.stat().st_ino
    password.chmod(0o644)
    output = _run(tmp_path, "good", CANARY, "-y", "--diff")
    assert "mode differs" in output
    assert password.stat().st_mode & 0o777 == 0o600
    assert password.stat().st_ino == inode


@pytest.mark.parametrize("options", [("-y",), ("-y", "-vvv", "--diff")])
def test_what_a_check_refuses_stops_the_run_and_changes_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    _run(tmp_path, "good", CANARY, "-y")
    output = _run(tmp_path, "bad", "canary-changed-value", *options)
    assert "the check refused" in output
    assert "canary" not in output
    assert (tmp_path / "etc" / "a.conf").read_text() == "good\n"
    assert (tmp_path / "keys" / "password").read_text() == CANARY
