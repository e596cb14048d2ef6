from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from groundwork.cli import programs
from groundwork.cli import test as tiers
from groundwork.cli.main import main

PASSES = "def test_one():\n    pass\n"
FAILS = "def test_one():\n    assert False\n"
SLOW = "import pytest, os\n@pytest.mark.slow\ndef test_slow():\n    assert os.environ['GROUNDWORK_TEST_ALL'] == '1'\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with tests of its own; no lab and no package is touched."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: slow\n")
    for tier in ("unit", "lab"):
        (tmp_path / "tests" / tier).mkdir(parents=True)
        (tmp_path / "tests" / tier / f"test_{tier}.py").write_text(PASSES)
    monkeypatch.setenv("GROUNDWORK_ROOT", str(tmp_path))
    monkeypatch.delenv("GROUNDWORK_TEST_ALL", raising=False)
    monkeypatch.setattr(programs, "list_missing", lambda slow: [])
    monkeypatch.setattr(tiers, "remove_leftovers", lambda before: [])
    return tmp_path


def test_all_tiers_pass(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["test"]) == 0
    said = capfd.readouterr().out
    assert said.count("1 passed") == 2
    assert "vm" not in said


@pytest.mark.parametrize("tier", ["unit", "lab"])
def test_a_failure_is_the_exit_code_and_stops_no_tier(
    project: Path, capfd: pytest.CaptureFixture[str], tier: str
) -> None:
    (project / "tests" / tier / "test_more.py").write_text(FAILS)
    assert main(["test"]) == 1
    said = capfd.readouterr().out
    assert "1 failed, 1 passed" in said
    assert f"== {tier} tests: exit 1" in said
    assert said.count("== lab tests: ") == 2


def test_slow_tests_run_with_all_alone(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "tests/lab/test_slow.py").write_text(SLOW)
    (project / "tests/vm").mkdir()
    assert main(["test"]) == 0
    assert "1 passed" in capfd.readouterr().out
    assert main(["test", "--all"]) == 0
    said = capfd.readouterr().out
    assert "2 passed" in said
    assert "== vm tests: exit 5" in said


def test_each_role_has_its_day(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "lab"
    folder.mkdir(parents=True)
    names = ["test_lifecycle.py", "test_role_base.py", "test_role_nats.py", "test_role_redis.py", "test_site_drift.py"]
    for name in names:
        (folder / name).touch()
    days = [date(2026, 12, 30) + timedelta(days=number) for number in range(3)]
    chosen = [tiers.list_tiers(tmp_path, day)["lab"] for day in days]
    roles = [[Path(word).name for word in words if "test_role_" in word] for words in chosen]
    assert sorted(name for names_of_day in roles for name in names_of_day) == names[1:4]
    assert all({"tests/lab/test_lifecycle.py", "tests/lab/test_site_drift.py"} < set(words) for words in chosen)


def test_labs_that_tests_left_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    names = ["default", "role-redis-trixie", "second", "selftest-2", "site-trixie", "test"]
    monkeypatch.delenv("GROUNDWORK_KEEP_LAB", raising=False)
    monkeypatch.setattr("groundwork.lab.state.list_names", lambda: names)
    monkeypatch.setattr("groundwork.lab.lifecycle.remove_lab", removed.append)
    # What was there before is somebody's; what has another name was not made by a test.
    assert tiers.remove_leftovers({"default", "test"}) == removed == ["role-redis-trixie", "selftest-2", "site-trixie"]
    monkeypatch.setenv("GROUNDWORK_KEEP_LAB", "1")
    assert tiers.remove_leftovers(set()) == []
