from __future__ import annotations

from pathlib import Path

import pytest

from groundwork.cli import programs
from groundwork.lab import privilege
from groundwork.problems import Problem, ProblemError


class Machine:
    """A machine on which nothing is run or installed, only noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.done: list[str] = []
        self.said: list[str] = []
        self.refuses = False
        monkeypatch.setattr(programs, "POLICY", folder / "policy-rc.d")
        monkeypatch.setattr(privilege, "run_as_root", lambda command, what: self.done.append(" ".join(command)))
        monkeypatch.setattr(privilege, "install_packages", self.install)

    def install(self, packages: list[str]) -> None:
        if self.refuses:
            raise ProblemError([Problem("root is needed here and there is no sudo")])
        self.done.append(f"install {' '.join(packages)}")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def lack(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path: None if name in names else f"/usr/bin/{name}")


def test_nothing_is_done_where_nothing_is_missing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch)
    programs.install_missing(machine.said.append)
    assert (machine.done, machine.said) == ([], [])


def test_what_only_slow_tests_start_is_left_to_them(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "chromium")
    programs.install_missing(machine.said.append)
    assert machine.done == []
    programs.install_missing(machine.said.append, slow=True)
    assert "install chromium" in machine.done


def test_what_is_missing_is_installed_without_its_service(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "redis-server", "redis-cli")
    programs.install_missing(machine.said.append)
    before, install, after, *rest = machine.done
    assert "exit 101" in before
    assert install == "install redis-server redis-tools"
    assert after == f"rm -f {programs.POLICY}"
    assert rest in ([], ["systemctl disable redis-server.service"])
    assert machine.said == ["installing what the unit tests start: redis-server, redis-tools"]


def test_a_policy_that_is_there_stays(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "openssl")
    programs.POLICY.write_text("#!/bin/sh\nexit 101\n")
    programs.install_missing(machine.said.append)
    assert machine.done == ["install openssl"]


def test_without_root_it_says_what_will_be_skipped(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "redis-cli")
    machine.refuses = True
    programs.install_missing(machine.said.append)
    assert machine.said[-1].startswith("tests that need redis-cli will be skipped: ")
    assert machine.done[-1].startswith("rm -f ")
