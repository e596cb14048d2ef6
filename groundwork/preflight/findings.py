"""What a check before a deploy says: the models that ``--json`` prints."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from groundwork.engine.results import ExitCode, Result
from groundwork.problems import Problem

SITE = "site"
"""Host column of checks that concern no single host."""


class Severity(StrEnum):
    """How bad it is when the check fails."""

    ERROR = "error"
    """A deploy would fail, or do harm."""
    WARNING = "warning"
    """A deploy works; somebody should look."""


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It does not concern this host, or this version cannot tell; ``evidence`` says why."""


class Finding(Result):
    """One check on one host, or of the site."""

    id: str
    """``<area>.<check>``, the same on every host."""
    host: str
    severity: Severity
    status: Status
    evidence: str
    """What was seen."""
    remedy: str = ""
    """What to do about it; empty unless the check failed."""


class PreflightResult(Result):
    """All checks of one environment."""

    environment: str
    findings: tuple[Finding, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Why checks could not be made at all."""
    live: bool = True
    """Whether hosts were asked."""
    seconds: float = 0.0

    def failed(self, severity: Severity | None = None) -> tuple[Finding, ...]:
        """The checks that failed, of one severity where given."""
        return tuple(f for f in self.findings if f.status is Status.FAILED and severity in (None, f.severity))

    def count(self, status: Status, host: str | None = None) -> int:
        """How many checks ended so, on one host where given."""
        return sum(1 for finding in self.findings if finding.status is status and host in (None, finding.host))

    def exit_code(self, least: Severity = Severity.WARNING) -> ExitCode:
        """0 good, 2 something of severity ``least`` or worse failed, 1 the checks themselves did not work."""
        if self.problems:
            return ExitCode.ERROR
        counted = self.failed() if least is Severity.WARNING else self.failed(Severity.ERROR)
        return ExitCode.FINDINGS if counted else ExitCode.GOOD


def judge(
    check: str, host: str, good: bool, evidence: str, remedy: str, severity: Severity = Severity.ERROR
) -> Finding:
    """A check that passed when ``good``, and otherwise failed with ``remedy``."""
    status = Status.PASSED if good else Status.FAILED
    shown = "" if good else remedy
    return Finding(id=check, host=host, severity=severity, status=status, evidence=evidence, remedy=shown)


def skip(check: str, host: str, why: str, severity: Severity = Severity.WARNING) -> Finding:
    """A check that was not made."""
    return Finding(id=check, host=host, severity=severity, status=Status.SKIPPED, evidence=why)


def judge_problems(check: str, problems: Iterable[Problem], evidence: str, remedy: str) -> list[Finding]:
    """One failed check of the site for each problem; one that passed, with ``evidence``, where there is none."""
    found = [judge(check, SITE, False, str(problem), remedy) for problem in problems]
    return found or [judge(check, SITE, True, evidence, "")]
