"""What a verification found: the models, and the pytest plugin that writes each check down as it ends."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TextIO

import pytest
from pydantic import Field

from groundwork.engine.results import ExitCode, Result
from groundwork.problems import Problem

SITE = "site"
"""Host column of checks that concern no single host."""

LONGEST_LINE = 300
"""Characters kept of a line of a reason: some quote whole files."""


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(Result):
    """One check on one host."""

    host: str
    role: str
    name: str
    outcome: Outcome
    seconds: float = 0.0
    reason: str = ""


class VerifyResult(Result):
    """One verification of an environment."""

    environment: str
    checks: tuple[Check, ...] = ()
    problems: tuple[Problem, ...] = ()
    interrupted: bool = False
    seconds: float = Field(default=0.0)

    def count(self, outcome: Outcome, host: str | None = None, role: str | None = None) -> int:
        """How many checks ended so, on one host and for one role where given."""
        return sum(
            1
            for check in self.checks
            if check.outcome is outcome and host in (None, check.host) and role in (None, check.role)
        )

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILED)

    @property
    def exit_code(self) -> ExitCode:
        """0 all good, 2 findings, 1 the verification itself did not work, 130 stopped by the user."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.problems:
            return ExitCode.ERROR
        return ExitCode.FINDINGS if self.failures else ExitCode.GOOD


def name_check(item: pytest.Item, host: str) -> list[tuple[str, object]]:
    """Properties that say which host, role and check a test is; they end up in the JUnit report too."""
    module = Path(item.path).stem.removeprefix("test_")
    marker = item.get_closest_marker("role")
    role = str(marker.args[0]) if marker is not None and marker.args else module
    name = getattr(item, "originalname", None) or item.name
    variant = _variant(item, host)
    return [("host", host or SITE), ("role", role), ("check", f"{name}[{variant}]" if variant else name)]


def _variant(item: pytest.Item, host: str) -> str:
    """What the test's id has besides the host."""
    callspec = getattr(item, "callspec", None)
    parts = [part for part in callspec.id.split("-") if part] if callspec else []
    shown = "-".join(parts)
    return shown.removeprefix(host).strip("-") if shown.startswith(host) else shown.removesuffix(host).strip("-")


class CheckReporter:
    """Writes each check to a file as a line of JSON when it ends."""

    def __init__(self, target: str) -> None:
        self._file: TextIO = Path(target).open("w", encoding="utf-8")  # noqa: SIM115

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for set-up, call and tear-down of every test."""
        if report.when != "call" and report.passed:
            return
        properties = dict(report.user_properties)
        check = Check(
            host=str(properties.get("host", SITE)),
            role=str(properties.get("role", "")),
            name=str(properties.get("check", report.nodeid)),
            outcome=Outcome(report.outcome),
            seconds=round(report.duration, 3),
            reason=_reason(report),
        )
        self._file.write(check.model_dump_json() + "\n")
        self._file.flush()

    def pytest_unconfigure(self) -> None:
        """Called by pytest at the end."""
        self._file.close()


def _reason(report: pytest.TestReport) -> str:
    """Why a check failed or was skipped, in a few lines and without a traceback."""
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return "\n".join(line[:LONGEST_LINE] for line in text.strip().splitlines()[:12])
