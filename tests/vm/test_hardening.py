"""A virtual machine is hardened to the last level, reboots, and holds what a container cannot show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from breaking import APART, MENDED_BY_HAND, PRELUDE, break_command

from groundwork.engine.results import OperationStatus, RunResult
from groundwork.report.hardening import FINDINGS, ControlStatus, HostReport, Level
from groundwork.scan.content import ensure_content
from groundwork.scan.scanner import scan
from groundwork.site import load_site
from groundwork.vm.project import VmProject
from roles.hardening.catalogue import find, select
from roles.hardening.inspection import check

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "bookworm"
LEVEL = Level.PARANOID
# Where the machine has no folder to mount anew, and what would take away the connection or the system under the test.
NOT_BROKEN = {"mount-home", "mount-var", "mount-var-log", "mount-var-log-audit", "mount-boot", "mount-var-tmp"}
TARGETS = {"cis_level1_server": 0.95, "cis_level2_server": 0.90}


@dataclass
class Stage:
    """The machine, and how it stood after each step."""

    project: VmProject
    after: HostReport
    repeated: list[list[str]]
    broken: HostReport
    mended: HostReport


def look(project: VmProject) -> HostReport:
    report = check(load_site("vm", project.folder), LEVEL).hosts[0]
    assert report.error == ""
    return report


def failures(result: RunResult) -> list[str]:
    return [host.reason for host in result.hosts if host.failed] + [str(problem) for problem in result.problems]


def changed(result: RunResult) -> list[str]:
    return [op.name for host in result.hosts for op in host.operations if op.status is not OperationStatus.UNCHANGED]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with VmProject(RELEASE, ROOT, print) as project:
        assert failures(project.harden(str(LEVEL))) == []
        project.machine.reboot()
        after = look(project)
        repeated = [changed(project.harden(str(LEVEL))) for _ in range(2)]
        judged = [
            one.id
            for one in after.controls
            if one.status is ControlStatus.PASSED and one.id not in {*NOT_BROKEN, *APART}
        ]
        controls = [control for name in judged if (control := find(name)) is not None]
        lines = [f"{{ {break_command(control)}; }} || echo {control.id}" for control in controls]
        project.machine.check(PRELUDE + "\n".join(lines))
        broken = look(project)
        project.machine.check("\n".join(MENDED_BY_HAND[name] for name in judged if name in MENDED_BY_HAND))
        assert failures(project.harden(str(LEVEL))) == []
        project.machine.reboot()
        yield Stage(project, after, repeated, broken, look(project))


def test_it_holds_after_a_reboot(stage: Stage) -> None:
    assert {one.id: one.evidence for one in stage.after.controls if one.status in FINDINGS} == {}
    assert not stage.after.container


def test_a_second_and_third_run_change_nothing(stage: Stage) -> None:
    assert stage.repeated == [[], []]


@pytest.mark.parametrize("name", [control.id for control in select(LEVEL) if control.id not in {*NOT_BROKEN, *APART}])
def test_a_control_is_seen_broken_and_mended(stage: Stage, name: str) -> None:
    broken = next(one for one in stage.broken.controls if one.id == name)
    mended = next(one for one in stage.mended.controls if one.id == name)
    if broken.status is ControlStatus.NOT_APPLICABLE:
        pytest.skip("; ".join(broken.evidence))
    assert broken.status is ControlStatus.FAILED
    assert (mended.status, mended.evidence) == (ControlStatus.PASSED, ())


def test_independent_judge(stage: Stage) -> None:
    stream = ensure_content(RELEASE, ROOT, print)
    results = scan(stage.project.machine.shell, "vm", RELEASE, stream, list(TARGETS))
    for result in results:
        share = result.share
        assert share >= TARGETS[result.profile], f"{result.profile}: {share:.1%}, {result.names('fail', 'error')}"
