"""The shell script `gw`, with a stub in the place of uv: what it does, when, and what it leaves when it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Makes an environment whose `groundwork` prints its arguments, and notes each call.
UV = """\
#!/bin/sh
echo "uv $*" >> "$CALLS"
[ -z "${UV_FAILS:-}" ] || [ "$2" != "$UV_FAILS" ] || exit 7
case $1 in
    venv)
        for last; do :; done
        mkdir -p "$last/bin"
        ln -sf "$PYTHON" "$last/bin/python"
        sleep "${UV_SLEEPS:-0}"
        ;;
    pip)
        printf '#!/bin/sh\\nprintf "%%s|" "$PWD" "$@"\\n' > .venv/bin/groundwork
        chmod +x .venv/bin/groundwork
        ;;
esac
"""


class Checkout:
    """A folder with `gw` and the two files it looks at, and a PATH on which uv is the stub."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "check out"
        self.folder.mkdir()
        shutil.copy(ROOT / "gw", self.folder / "gw")
        for name in ("requirements.lock", "pyproject.toml"):
            (self.folder / name).write_text(name)
        tools = folder / "tools"
        tools.mkdir()
        (tools / "uv").write_text(UV)
        (tools / "uv").chmod(0o755)
        self.calls_file = folder / "calls"
        self.environment = {
            **os.environ,
            "PATH": f"{tools}:/usr/bin:/bin",
            "GROUNDWORK_PYTHON": sys.executable,
            "PYTHON": sys.executable,
            "CALLS": str(self.calls_file),
        }

    def start(self, *arguments: str, script: Path | None = None, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(script or self.folder / "gw"), *arguments],
            cwd=self.folder.parent,
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, script: Path | None = None, **more: str) -> tuple[int, str, str]:
        process = self.start(*arguments, script=script, **more)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    def calls(self) -> list[str]:
        calls = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return [" ".join(call.split()[:3]) for call in calls]


PREPARED = ["uv venv --quiet", "uv pip sync", "uv pip install"]


@pytest.fixture
def checkout(tmp_path) -> Checkout:
    return Checkout(tmp_path)


def test_prepares_once_then_passes_arguments_through_from_any_folder(checkout):
    code, output, errors = checkout.run("lab", "exec", "app", "--", "echo two  words")
    assert code == 0, errors
    assert output == f"{checkout.folder.parent}|lab|exec|app|--|echo two  words|"
    assert "preparing the environment" in errors
    assert checkout.calls() == PREPARED

    assert checkout.run("plan") == (0, f"{checkout.folder.parent}|plan|", "")
    assert checkout.calls() == []


def test_works_through_chained_symbolic_links(checkout, tmp_path):
    (tmp_path / "first").symlink_to("check out/gw")
    (tmp_path / "second").symlink_to(tmp_path / "first")
    assert checkout.run("plan", script=tmp_path / "second")[0] == 0
    assert (checkout.folder / ".venv" / "bin" / "groundwork").exists()


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_prepares_again_when_an_input_changed(checkout, name):
    checkout.run()
    checkout.calls()
    (checkout.folder / name).write_text("changed")
    assert checkout.run()[0] == 0
    assert checkout.calls() == PREPARED[1:]
    assert checkout.run()[2] == ""


def test_prepares_again_when_the_python_it_used_is_gone(checkout):
    checkout.run()
    checkout.calls()
    python = checkout.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent/python3")
    assert checkout.run()[0] == 0
    assert checkout.calls() == PREPARED


@pytest.mark.parametrize("step", ["sync", "install"])
def test_a_failed_preparation_fails_and_is_done_again(checkout, step):
    code, output, _ = checkout.run("plan", UV_FAILS=step)
    assert code == 7
    assert output == ""
    checkout.calls()
    assert checkout.run("plan")[0] == 0
    assert checkout.calls() == PREPARED[1:]


def test_a_killed_preparation_is_done_again(checkout):
    process = checkout.start("plan", UV_SLEEPS="2")
    while not (checkout.folder / ".venv" / "bin" / "python").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert checkout.calls() == PREPARED[:1]
    assert checkout.run("plan")[0] == 0
    assert checkout.calls() == PREPARED[1:]


def test_two_at_once_prepare_once(checkout):
    processes = [checkout.start("plan", UV_SLEEPS="1") for _ in range(2)]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert output.endswith("|plan|")
    assert checkout.calls() == PREPARED


def test_an_old_python_is_refused_with_a_way_out(checkout, tmp_path):
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14", "old"):
        (tmp_path / "tools" / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "tools" / name).chmod(0o755)
    code, output, errors = checkout.run("plan", GROUNDWORK_PYTHON=str(tmp_path / "tools" / "old"))
    assert code == 1
    assert output == ""
    assert "Python 3.11 or newer is needed" in errors
    assert checkout.calls() == []
