"""What a hardening check found: the stable document that ``groundwork harden ENV --check --json`` prints."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

from pydantic import Field

from groundwork.engine.results import ExitCode, Result
from groundwork.problems import Problem

if TYPE_CHECKING:
    from rich.console import Console


class Level(StrEnum):
    """How far hardening goes; each level has the controls of those before it."""

    BASELINE = "baseline"
    STRICT = "strict"
    PARANOID = "paranoid"


class ControlStatus(StrEnum):
    """How one control stands on one host."""

    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"
    """It fails, and a waiver that is in force says why."""
    EXPIRED = "expired"
    """Its waiver's day is over: counts as a finding, whether or not the control holds."""
    NOT_APPLICABLE = "not_applicable"
    """What the host carries, or that it is a container, makes the control meaningless; the evidence says which."""


FINDINGS = (ControlStatus.FAILED, ControlStatus.EXPIRED)


class Waiver(Result):
    """Why a control is not enforced, and until when."""

    reason: str
    until: date
    """The last day on which it is in force."""


class ControlResult(Result):
    """One control on one host."""

    id: str
    """Stable name, for example ``ssh-root``; docs/roles/hardening.md lists all."""
    group: str
    title: str
    level: Level
    status: ControlStatus
    evidence: tuple[str, ...] = ()
    """What was found that the control does not want, or why it was not judged; one fact each."""
    references: tuple[str, ...] = ()
    waiver: Waiver | None = None
    partly: bool = False
    """Only what is configured was judged: the host has no kernel of its own."""


class HostReport(Result):
    """One host's controls, in the catalogue's order; ``error`` where it could not be asked."""

    host: str
    release: str = ""
    container: bool = False
    level: Level | None = None
    """The level it was judged by; None where the host is not to be hardened or was not reached."""
    controls: tuple[ControlResult, ...] = ()
    error: str = ""
    seconds: float = 0.0

    def count(self, *statuses: ControlStatus) -> int:
        """How many controls stand so."""
        return sum(1 for control in self.controls if control.status in statuses)


class HardeningReport(Result):
    """One check of an environment."""

    schema_version: Literal[1] = 1
    environment: str
    started: str = ""
    """UTC, ISO 8601."""
    seconds: float = Field(default=0.0)
    hosts: tuple[HostReport, ...] = ()
    problems: tuple[Problem, ...] = ()

    def count(self, *statuses: ControlStatus) -> int:
        """How many controls stand so, on all hosts together."""
        return sum(host.count(*statuses) for host in self.hosts)

    @property
    def exit_code(self) -> ExitCode:
        """0 nothing found, 2 findings, 1 a host could not be asked."""
        if self.problems or any(host.error for host in self.hosts):
            return ExitCode.ERROR
        return ExitCode.FINDINGS if self.count(*FINDINGS) else ExitCode.GOOD


def print_hardening(report: HardeningReport, console: Console) -> None:
    """Print a table with a row for each finding and waiver, and a line for each host."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for column in ("host", "control", "level", "status", "evidence"):
        table.add_column(column, overflow="fold")
    rows = 0
    for host in report.hosts:
        for control in host.controls:
            if control.status not in (*FINDINGS, ControlStatus.WAIVED):
                continue
            rows += 1
            told = "; ".join(control.evidence[:4])
            if control.waiver is not None:
                told = f"until {control.waiver.until}: {control.waiver.reason}" + (f" ({told})" if told else "")
            table.add_row(host.host, control.id, control.level, control.status.replace("_", " "), told)
    if rows:
        console.print(table)
    for host in report.hosts:
        if host.error:
            console.print(f"{host.host}: {host.error}")
            continue
        statuses = [(status, host.count(status)) for status in ControlStatus]
        counted = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in statuses if number)
        kind = "container" if host.container else "host"
        console.print(f"{host.host} ({host.release} {kind}, level {host.level}): {counted or 'no controls'}")


def write_junit(report: HardeningReport, path: Path) -> None:
    """Write the report as JUnit XML: a suite for each host, a case for each control."""
    root = ElementTree.Element("testsuites", name=f"hardening of {report.environment}")
    for host in report.hosts:
        counts = {"tests": len(host.controls) + bool(host.error), "failures": host.count(*FINDINGS)}
        skipped = host.count(ControlStatus.WAIVED, ControlStatus.NOT_APPLICABLE)
        attributes = {key: str(value) for key, value in counts.items()}
        attributes |= {"skipped": str(skipped), "errors": str(int(bool(host.error))), "time": str(host.seconds)}
        suite = ElementTree.SubElement(root, "testsuite", {"name": host.host, **attributes})
        if host.error:
            case = ElementTree.SubElement(suite, "testcase", classname=host.host, name="reachable")
            ElementTree.SubElement(case, "error", message=host.error)
        for control in host.controls:
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{host.host}.{control.group}", name=f"{control.id}: {control.title}"
            )
            told = "; ".join(control.evidence)
            if control.status in FINDINGS:
                ElementTree.SubElement(case, "failure", message=told or "the waiver has expired")
            elif control.status is not ControlStatus.PASSED:
                reason = f"waived until {control.waiver.until}: {control.waiver.reason}" if control.waiver else told
                ElementTree.SubElement(case, "skipped", message=reason)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="unicode", xml_declaration=True)
