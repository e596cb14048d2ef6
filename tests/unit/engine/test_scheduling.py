"""Checks of one host are told from those of another, and stay with one worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from groundwork.engine.scheduling import SITE, host_of

CONFTEST = """
import pytest
from groundwork.engine.scheduling import HostScheduling

def pytest_xdist_make_scheduler(config, log):
    return HostScheduling(config, log, ("app", "data"))
"""
CHECKS = """
import pytest
from pathlib import Path

@pytest.mark.parametrize("host", ["app", "data"])
@pytest.mark.parametrize("number", range(8))
def test_check(host, number, worker_id):
    with Path(__file__).with_name(host).open("a") as file:
        file.write(worker_id + "\\n")
"""


@pytest.mark.parametrize(
    ("check", "host"),
    [
        ("test_base.py::test_clock[app]", "app"),
        ("test_redis.py::test_memory[app-1-redis]", "app-1"),
        ("test_redis.py::test_memory[redis-app-1]", "app-1"),
        ("test_redis.py::test_memory[other-app2]", SITE),
        ("test_app.py::test_app", SITE),
    ],
)
def test_the_host_is_read_from_the_checks_id(check: str, host: str) -> None:
    assert host_of(check, ("app", "app-1", "data")) == host


def test_a_worker_takes_whole_hosts(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_checks.py").write_text(CHECKS)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadscope", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "16 passed" in done.stdout, done.stdout + done.stderr
    workers = [(tmp_path / host).read_text().split() for host in ("app", "data")]
    assert [len(set(of_host)) for of_host in workers] == [1, 1]
    assert workers[0][0] != workers[1][0]
