from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from groundwork.cli.main import COMMANDS, load_command, main


@pytest.mark.parametrize("arguments", [["plna"], ["plan"], ["plan", "--nonsense", "lab"], ["verify", "--workers", "0"]])
def test_wrong_command_line_exits_1_because_2_means_findings(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert "Error" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate", "plan", "apply", "verify"])
def test_unknown_environment_is_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "no-such-environment"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: inventories/no-such-environment.py: ")
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_json_problems_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "no-such-environment", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["problems"][0]["file"] == "inventories/no-such-environment.py"
    assert captured.err == ""


def test_unexpected_error_shows_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_name: str) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.delenv("GROUNDWORK_DEBUG", raising=False)
    monkeypatch.setattr("groundwork.site.load_site", fail)
    assert main(["validate", "lab"]) == 1
    captured = capsys.readouterr()
    assert "RuntimeError: out of luck" in captured.err
    assert "Traceback" not in captured.err
    assert 'test_main.py", line' not in captured.err
    assert main(["validate", "lab", "--debug"]) == 1
    assert 'test_main.py", line' in capsys.readouterr().err


def test_schema_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "properties" in json.loads(capsys.readouterr().out)


def test_every_command_can_be_imported() -> None:
    for name in COMMANDS:
        assert load_command(name).name == name


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from groundwork.cli.main import main; main(['--help']); "
        "print([m for m in ('pyinfra', 'docker', 'pydantic', 'pytest') if m in sys.modules])"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - started < 5


def test_reading_an_inventory_leaves_the_standard_library_alone() -> None:
    code = (
        "import subprocess; before = subprocess.Popen; "
        "from groundwork.cli.main import main; main(['validate', 'lab']); "
        "import pyinfra_cli; assert subprocess.Popen is before"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
