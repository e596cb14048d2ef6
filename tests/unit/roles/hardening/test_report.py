"""The report: exit codes, JSON and JUnit."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest

from groundwork.engine.results import ExitCode
from groundwork.report.hardening import (
    ControlResult,
    ControlStatus,
    HardeningReport,
    HostReport,
    Level,
    Waiver,
    write_junit,
)


def control(status: ControlStatus, waiver: Waiver | None = None) -> ControlResult:
    return ControlResult(
        id=f"ssh-{status}", group="ssh", title="A title", level=Level.BASELINE, status=status, waiver=waiver,
        evidence=("found",),
    )  # fmt: skip


def report(*statuses: ControlStatus, error: str = "") -> HardeningReport:
    waiver = Waiver(reason="a bastion for people", until=date(2027, 1, 1))
    controls = tuple(control(one, waiver if one is ControlStatus.WAIVED else None) for one in statuses)
    return HardeningReport(environment="lab", hosts=(HostReport(host="app", controls=controls, error=error),))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (report(ControlStatus.PASSED, ControlStatus.WAIVED, ControlStatus.NOT_APPLICABLE), ExitCode.GOOD),
        (report(ControlStatus.PASSED, ControlStatus.FAILED), ExitCode.FINDINGS),
        (report(ControlStatus.EXPIRED), ExitCode.FINDINGS),
        (report(ControlStatus.FAILED, error="refused"), ExitCode.ERROR),
    ],
)
def test_exit_codes(found: HardeningReport, code: ExitCode) -> None:
    assert found.exit_code is code


def test_json_comes_back_as_it_was() -> None:
    found = report(*ControlStatus)
    assert HardeningReport.model_validate_json(found.model_dump_json()) == found


def test_junit_has_a_case_for_each_control(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    write_junit(report(*ControlStatus, error="it went away"), path)
    suite = ElementTree.parse(path).getroot()[0]
    assert suite.get("failures") == "2" and suite.get("skipped") == "2" and suite.get("errors") == "1"
    assert len(suite.findall("testcase")) == len(ControlStatus) + 1
    assert "a bastion for people" in ElementTree.tostring(suite, encoding="unicode")
