"""Scheduled passes: real commands in processes of their own, one after the other, within their window."""

from __future__ import annotations

import fcntl
import json
import shutil
import stat
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from groundwork.cli.main import main
from groundwork.manifest.backup import MaintenanceWindow
from groundwork.problems import ProblemError
from groundwork.scheduled import run, tasks
from groundwork.scheduled.passes import KEPT, Outcome, PassHistory, count_findings
from groundwork.scheduled.run import build_command, run_pass
from groundwork.scheduled.tasks import TASKS, find_command, why_left_out
from groundwork.scheduled.windows import next_elapse, window_end
from groundwork.site import Site
from tests.unit.preflight.projects import Project

CALENDARS = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
ALWAYS = {"always": {"calendar": "*-*-* *:*:00", "duration": "1h"}}
NEVER = {"never": {"calendar": "2031-01-01 00:00:00", "duration": "1h"}}


def schedule(project: Project, **declared: str) -> Site:
    """The site with one schedule ``check`` of a command that contacts no host."""
    project.manifest["schedules"] = {"check": {"task": "review", "calendar": "daily", **declared}}
    return project.load()


@pytest.fixture
def static_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the task ``review`` be a preflight without hosts."""
    task = tasks.Task(("preflight",), ("--static", "--json"))
    monkeypatch.setitem(TASKS, "review", task)
    monkeypatch.setattr(tasks, "UNATTENDED", ("review",))


def test_tasks_whose_command_is_missing_are_left_out_by_name() -> None:
    assert why_left_out("verify") == ""
    assert why_left_out("drift") == ""
    assert why_left_out("rotate_certificates") == ""
    for task in TASKS:
        reason = why_left_out(task)
        assert bool(reason) == (find_command(task) is None or task not in tasks.UNATTENDED)
    assert why_left_out("archive") == "this version has no command groundwork archive"


@pytest.mark.usefixtures("static_task")
def test_a_pass_leaves_report_history_and_figures(project: Project) -> None:
    site = schedule(project)
    assert build_command(site, site.platform.schedules["check"]) == ["preflight", "farm", "--static", "--json"]
    found = run_pass(site, "check")
    assert (found.outcome, found.exit_code) == (Outcome.FINDINGS, 2)
    assert found.findings["error"] >= 2
    history = PassHistory(site)
    assert history.last_success("check") is None
    assert "last_success" not in history.metrics_file("check").read_text()

    project.complete()
    good = run_pass(site, "check")
    assert (good.outcome, good.exit_code, good.findings) == (Outcome.SUCCESS, 0, {})
    assert good.document["environment"] == "farm"
    assert [one.outcome for one in history.read("check")] == [Outcome.FINDINGS, Outcome.SUCCESS]
    figures = history.metrics_file("check").read_text()
    labels = '{environment="farm",schedule="check",task="review"'
    assert f"groundwork_schedule_exit_code{labels}}} 0" in figures
    assert f'groundwork_schedule_findings{labels},severity="error"}} 0' in figures
    assert f'groundwork_schedule_outcome{labels},outcome="success"}} 1' in figures
    assert f"groundwork_schedule_last_success_timestamp_seconds{labels}}}" in figures
    reports = list(history.folder.glob("reports/check/*.json"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in reports} == {0o600}


@pytest.mark.usefixtures("static_task")
def test_figures_are_what_prometheus_reads(project: Project) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing")
    site = schedule(project)
    run_pass(site, "check")
    text = PassHistory(site).metrics_file("check").read_text()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("static_task")
def test_only_so_many_reports_are_kept(project: Project) -> None:
    site = schedule(project)
    report = run_pass(site, "check")
    history = PassHistory(site)
    for number in range(KEPT + 3):
        history.write(report.model_copy(update={"started": f"2026-01-01T00:{number // 60:02}:{number % 60:02}+00:00"}))
    assert len(history.read("check")) == KEPT


@pytest.mark.usefixtures("static_task")
def test_two_passes_never_overlap(project: Project) -> None:
    site = schedule(project)
    history = PassHistory(site)
    history.folder.mkdir(parents=True)
    with history.lock_file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ProblemError, match="another pass"):
            run_pass(site, "check", wait=0)
        threading.Timer(1.0, lambda: fcntl.flock(held, fcntl.LOCK_UN)).start()
        started = time.monotonic()
        report = run_pass(site, "check", wait=60)
        assert time.monotonic() - started >= 1.0
    assert report.exit_code in (0, 2)


@CALENDARS
@pytest.mark.usefixtures("static_task")
def test_a_pass_keeps_to_its_window(project: Project) -> None:
    project.manifest["maintenance"] = ALWAYS | NEVER
    site = schedule(project, window="never")
    report = run_pass(site, "check")
    assert (report.outcome, report.exit_code, report.document) == (Outcome.OUTSIDE_WINDOW, 0, None)
    assert "never is not open" in report.message
    site = schedule(project, window="always")
    assert run_pass(site, "check").outcome is Outcome.FINDINGS


@pytest.mark.usefixtures("static_task")
def test_a_pass_whose_time_is_up_is_stopped(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    site = schedule(project)
    monkeypatch.setattr(run, "LONGEST", timedelta(seconds=0.05))
    report = run_pass(site, "check")
    assert report.outcome is Outcome.STOPPED
    assert PassHistory(site).read("check")[-1].message == "its time was up"


@CALENDARS
def test_windows_are_read_as_systemd_reads_them() -> None:
    window = MaintenanceWindow(calendar="Sun *-*-* 02:00:00 UTC", duration="2h")
    sunday = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
    for minutes, closes in ((-1, None), (0, sunday), (119, sunday), (121, None)):
        end = window_end(window, sunday + timedelta(minutes=minutes))
        assert end == (None if closes is None else closes + timedelta(hours=2)), minutes
    overlapping = MaintenanceWindow(calendar="*-*-* *:00:00 UTC", duration="2h")
    assert window_end(overlapping, sunday + timedelta(minutes=30)) == sunday + timedelta(hours=2)
    assert next_elapse("2020-01-01", sunday) is None
    with pytest.raises(ProblemError, match="systemd cannot read it"):
        next_elapse("every blue moon", sunday)


def test_findings_are_counted_by_severity() -> None:
    checks = {"checks": [{"outcome": "failed"}, {"outcome": "passed"}]}
    assert count_findings("verify", checks) == ({"error": 1}, 0)
    assert count_findings("drift", {"drifts": [{}, {}], "problems": []}) == ({"warning": 2}, 2)
    findings = {"findings": [{"status": "failed", "severity": "warning"}, {"status": "passed", "severity": "error"}]}
    assert count_findings("health", findings) == ({"warning": 1}, 0)
    controls = [("failed", "baseline"), ("expired", "paranoid"), ("passed", "strict"), ("waived", "baseline")]
    host = {"host": "app", "error": "", "controls": [{"status": state, "level": level} for state, level in controls]}
    assert count_findings("harden_check", {"hosts": [host]}) == ({"error": 1, "info": 1}, 0)
    assert count_findings("harden_check", {"hosts": [{"host": "app", "error": "silent"}]}) == ({"error": 1}, 0)
    assert count_findings("drift", {"hosts": ["app"], "drifts": [{}]}) == ({"warning": 1}, 1)
    assert count_findings("rotate_certificates", {"endpoints": [{"finding": "old"}, {"finding": ""}]}) == (
        {"error": 1},
        0,
    )
    assert count_findings("verify", {"problems": [{}]}) == ({"error": 1}, 0)
    assert count_findings("verify", None) == count_findings("verify", []) == ({}, 0)


@pytest.mark.usefixtures("static_task")
def test_the_command(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    project.manifest["schedules"] = {
        "check": {"task": "review", "calendar": "daily"},
        "old-messages": {"task": "archive", "calendar": "monthly"},
    }
    project.complete()
    monkeypatch.setenv("GROUNDWORK_ROOT", str(project.root))
    assert main(["schedule", "run", "farm", "check"]) == 0
    assert "check: success: no findings, drift 0" in capsys.readouterr().out
    assert main(["schedule", "history", "farm", "check", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["reports"]) == 1
    assert main(["schedule", "list", "farm", "--json"]) == 0
    rows = {row["schedule"]: row for row in json.loads(capsys.readouterr().out)["schedules"]}
    assert rows["check"]["command"] == "groundwork preflight farm --static --json"
    assert rows["check"]["last_outcome"] == "success"
    assert rows["old-messages"]["left_out"] == "this version has no command groundwork archive"
    assert main(["schedule", "list", "farm"]) == 0
    assert main(["schedule", "run", "farm", "old-messages"]) == 1
    assert "this version has no command groundwork archive" in capsys.readouterr().err
    assert main(["schedule", "run", "farm", "nothing"]) == 1
    assert "allowed: check, old-messages" in capsys.readouterr().err
