"""Looks at an environment whose hosts are played by functions: baselines, times, what is over, and the command."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from typing import Any

import pytest

from groundwork.cli.main import main
from groundwork.drift import gathering, run
from groundwork.drift.gathering import following
from groundwork.drift.items import Source
from groundwork.drift.snapshot import Snapshot
from groundwork.drift.state import KEPT, DriftState
from groundwork.engine import api
from groundwork.engine.checks import Check, Outcome, VerifyResult
from groundwork.engine.results import HostResult, Mode, OperationResult, OperationStatus, RunResult
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from tests.unit.preflight.projects import Project


class Hosts:
    """What the two hosts are like; ``silent`` are those that do not answer."""

    def __init__(self) -> None:
        self.snapshots: dict[str, Snapshot] = {name: {"file": {"/etc/a": "1"}, "user": {}} for name in ("app", "data")}
        self.silent: set[str] = set()
        self.planned: list[str] = []
        self.failing: list[str] = []
        self.asked = 0

    def gather(self, _site: Site, hosts: Sequence[str]) -> tuple[dict[str, Snapshot], list[Problem]]:
        self.asked += 1
        found = {host: json.loads(json.dumps(self.snapshots[host])) for host in hosts if host not in self.silent}
        return found, [Problem("cannot be asked", key=host) for host in hosts if host in self.silent]

    def plan(self, environment: str, **_: Any) -> RunResult:
        done = tuple(OperationResult(name=n, status=OperationStatus.WOULD_CHANGE, diff=("+x",)) for n in self.planned)
        return RunResult(mode=Mode.PLAN, environment=environment, hosts=(HostResult(name="app", operations=done),))

    def verify(self, environment: str, **_: Any) -> VerifyResult:
        found = [
            Check(host="app", role="redis", name=name, outcome=Outcome.FAILED, reason="no") for name in self.failing
        ]
        return VerifyResult(environment=environment, checks=tuple(found))


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    played = Hosts()
    monkeypatch.setattr(run, "gather", played.gather)
    monkeypatch.setattr(gathering, "gather", played.gather)
    monkeypatch.setattr(api, "plan", played.plan)
    monkeypatch.setattr(run, "verify", played.verify)
    monkeypatch.setattr(run, "ask_hosts", lambda _hosts, _question: ({}, []))
    return played


def test_a_first_look_takes_baselines_and_later_ones_compare(project: Project, hosts: Hosts) -> None:
    site = project.load()
    first = run.look(site)
    assert (first.drifts, first.exit_code) == ((), 0)
    assert set(first.baselines) == {"app", "data"}
    hosts.snapshots["app"]["user"]["mallory"] = "1000"
    hosts.planned, hosts.failing = ["Configure redis"], ["test_access"]
    second = run.look(site)
    assert [(d.host, d.source, d.subject) for d in second.drifts] == [
        ("app", Source.BASELINE, "mallory"),
        ("app", Source.PLAN, "Configure redis"),
        ("app", Source.VERIFY, "test_access"),
    ]
    assert second.exit_code == 2
    hosts.planned, hosts.failing = [], []
    hosts.snapshots["app"]["user"]["mallory"] = "1001"
    third = run.look(site)
    assert [(d.subject, d.was, d.now, d.first_seen) for d in third.drifts] == [
        ("mallory", "absent", "1001", second.drifts[0].first_seen)
    ]
    assert {d.subject for d in third.ended} == {"Configure redis", "test_access"}
    del hosts.snapshots["app"]["user"]["mallory"]
    assert run.look(site).exit_code == 0


def test_a_look_at_some_forgets_nothing_of_others(project: Project, hosts: Hosts) -> None:
    site = project.load()
    run.look(site)
    hosts.snapshots["app"]["user"]["mallory"] = "1000"
    first = run.look(site).drifts[0].first_seen
    partial = run.look(site, limit=["data"], sources=(Source.BASELINE,))
    assert (partial.drifts, partial.ended) == ((), ())
    assert run.look(site).drifts[0].first_seen == first
    with pytest.raises(ProblemError):
        run.look(site, limit=["nobody"])


def test_a_silent_host_is_an_error_and_ends_nothing(project: Project, hosts: Hosts) -> None:
    site = project.load()
    run.look(site)
    hosts.snapshots["app"]["user"]["mallory"] = "1000"
    run.look(site)
    hosts.silent.add("app")
    report = run.look(site)
    assert report.exit_code == 1
    assert report.ended == ()
    with pytest.raises(ProblemError):
        run.accept(site)


def test_baselines_follow_an_apply_but_not_what_was_there_before(project: Project, hosts: Hosts) -> None:
    site = project.load()
    with following(site):
        pass
    assert hosts.asked == 0
    run.look(site, sources=(Source.BASELINE,))
    hosts.snapshots["app"]["user"]["mallory"] = "1000"
    with following(site):
        hosts.snapshots["app"]["file"]["/etc/new"] = "1"
        hosts.snapshots["data"]["file"]["/etc/a"] = "2"
    report = run.look(site, sources=(Source.BASELINE,))
    assert [(d.host, d.subject) for d in report.drifts] == [("app", "mallory")]
    with following(site, ["nobody"]):
        pass


def test_accepting_needs_saying_and_is_for_the_hosts_named(project: Project, hosts: Hosts) -> None:
    site = project.load()
    run.look(site)
    for host in hosts.snapshots.values():
        host["user"]["mallory"] = "1000"
    assert run.accept(site, ["app"]) == ["app"]
    assert [d.host for d in run.look(site).drifts] == ["data"]


def test_what_is_kept_is_for_the_owner_alone_and_limited(project: Project, hosts: Hosts) -> None:
    site = project.load()
    state = DriftState(site)
    run.look(site)
    report = state.last_report()
    assert report is not None
    for number in range(KEPT + 5):
        state.write_report(
            report.model_copy(update={"time": f"2026-01-01T00:{number // 60:02}:{number % 60:02}+00:00"})
        )
    assert len(list(state.folder.glob("reports/*.json"))) == KEPT
    files = [path for path in state.folder.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    next(state.folder.glob("baselines/*.json")).write_text("{")
    with pytest.raises(ProblemError, match="baseline is damaged"):
        run.look(site)


def test_the_command(
    project: Project, hosts: Hosts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.load()
    monkeypatch.setenv("GROUNDWORK_ROOT", str(project.root))
    assert main(["drift", "farm"]) == 0
    assert "baseline taken of app, data" in capsys.readouterr().out
    hosts.snapshots["app"]["user"]["mallory"] = "1000"
    assert main(["drift", "farm", "--quick"]) == 2
    shown = capsys.readouterr().out
    assert "baseline: user mallory (since 20" in shown
    assert "was absent, is 1000" in shown
    assert main(["drift", "farm", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["drifts"][0]["subject"] == "mallory"
    assert main(["drift", "farm", "--accept"]) == 0
    assert main(["drift", "farm", "--quick"]) == 0
    assert main(["drift", "farm", "--limit", "nobody"]) == 1
