from __future__ import annotations

import grp
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roles.agent_runtime.onhost.generations import CheckError, find_damage, list_generations, stage_generation
from roles.agent_runtime.onhost.layout import Layout, read_link
from roles.agent_runtime.onhost.releases import InstallError, install_release, list_releases, prune_releases
from roles.agent_runtime.onhost.switching import Switch
from roles.agent_runtime.onhost.units import Systemd, UnitState, parse_states, wait_until_ready

GROUP = grp.getgrgid(os.getgid()).gr_name


class FakeSystemd(Systemd):
    """Starts units at once with the revision in their drop-in, unless their release is broken."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.revisions: dict[str, str] = {}
        self.failed: set[str] = set()
        self.enabled: set[str] = set()
        self.masked: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.broken: Callable[[str, str], bool] = lambda unit, release: False

    def run(self, *arguments: str, check: bool = True) -> str:
        verb, names = arguments[0], [a for a in arguments[1:] if not a.startswith("--")]
        self.calls.append((verb, *names))
        if verb == "unmask":
            self.masked.difference_update(names)
        elif verb == "restart":
            if self.masked.intersection(names):
                raise subprocess.CalledProcessError(1, ["systemctl", *arguments])
            for unit in names:
                self.failed.discard(unit)
                self.revisions.pop(unit, None)
                if self.broken(unit, read_link(self.layout.current)):
                    self.failed.add(unit)
                else:
                    content = (self.layout.units / f"{unit}.d/50.conf").read_text()
                    self.revisions[unit] = content.strip()
        elif verb == "stop":
            for unit in names:
                self.revisions.pop(unit, None)
        elif verb in ("enable", "disable"):
            (self.enabled.update if verb == "enable" else self.enabled.difference_update)(names)
        elif verb == "is-enabled":
            return "enabled\n" if names[0] in self.enabled else "disabled\n"
        return ""

    def show(self, units: Any) -> dict[str, UnitState]:
        def state(unit: str) -> UnitState:
            if unit in self.failed:
                return UnitState(unit, "failed", "failed", "exit-code")
            return (
                UnitState(unit, "active", "running", "success", 1, 0, 4e9)
                if unit in self.revisions
                else UnitState(unit)
            )

        return {unit: state(unit) for unit in units}

    def read_revision(self, state: UnitState) -> str:
        return self.revisions.get(state.name, "")

    def read_journal(self, unit: str, since: float) -> list[str]:
        return ["it said hunter2-hunter2"]


class Host:
    def __init__(self, root: Path) -> None:
        self.layout = Layout("p", root)
        self.systemd = FakeSystemd(self.layout)
        self.said: list[str] = []
        self.switch = Switch(self.layout, self.systemd, self.said.append, settle=0)
        self.layout.units.mkdir(parents=True)

    def stage(
        self, name: str, release: str, units: dict[str, str], keep: int = 3, boxes: tuple[str, ...] = (), **extra: Any
    ) -> None:
        folder = self.layout.releases / release
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".complete").write_text("x")
        files = {f"units/{unit}.d/50.conf": revision for unit, revision in units.items()}
        files |= {"units/p.target": "[Unit]\n", "p.env": f"A={name}\n"}
        files |= {f"containers/{unit.removesuffix('.service')}.json": "{}" for unit in boxes}
        document = {
            "release": release,
            "target": "p.target",
            "links": ["p.env"],
            "phases": [[unit] for unit in units],
            "inputs": {u: {"revision": r, "files": [], "credentials": []} for u, r in units.items()},
            "timeouts": {"ready": 0, "stop": 0},
            "keep": keep,
            "checks": [],
            "files": {p: {"content": text, "mode": 0o644, "group": GROUP} for p, text in files.items()},
            **extra,
        }
        stage_generation(self.layout, name, document)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_first_switch_starts_everything(host: Host) -> None:
    host.stage("g1", "1.0+a", {"a@1.service": "r1", "b@1.service": "r1"})
    assert host.switch.switch("g1")
    assert host.systemd.revisions == {"a@1.service": "r1", "b@1.service": "r1"}
    assert (read_link(host.layout.current), read_link(host.layout.proven)) == ("1.0+a", "g1")
    assert (host.layout.configuration / "p.env").read_text() == "A=g1\n"
    assert host.switch.list_lags("g1") == []


def test_only_units_with_another_revision_restart(host: Host) -> None:
    host.stage("g1", "1.0+a", {"a@1.service": "r1", "b@1.service": "r1"})
    host.switch.switch("g1")
    host.systemd.calls.clear()
    host.stage("g2", "1.0+a", {"a@1.service": "r1", "b@1.service": "r2"})
    assert host.switch.switch("g2")
    assert [call for call in host.systemd.calls if call[0] == "restart"] == [("restart", "b@1.service")]


def test_containers_that_become_processes_are_stopped_while_their_units_know_how(host: Host) -> None:
    both = {"a@1.service": "r1", "b@1.service": "r1"}
    host.stage("g1", "1.0+a", both, boxes=tuple(both))
    host.switch.switch("g1")
    host.systemd.calls.clear()
    host.stage("g2", "1.0+a", {"a@1.service": "r2", "b@1.service": "r1"}, boxes=("b@1.service",))
    assert host.switch.switch("g2")
    verbs = [call for call in host.systemd.calls if call[0] in ("stop", "daemon-reload", "restart")]
    assert verbs == [("stop", "a@1.service"), ("daemon-reload",), ("restart", "a@1.service")]


def test_a_masked_unit_is_unmasked_and_started(host: Host) -> None:
    host.stage("g1", "1.0+a", {"a@1.service": "r1", "b@1.service": "r1"})
    host.switch.switch("g1")
    host.systemd.masked.add("b@1.service")
    host.systemd.revisions.pop("b@1.service")
    assert host.switch.switch("g1")
    assert host.systemd.masked == set()
    assert host.systemd.revisions["b@1.service"] == host.systemd.revisions["a@1.service"]


def test_a_broken_release_is_switched_back_whole(host: Host) -> None:
    host.stage("g1", "1.0+a", {"a@1.service": "r1", "b@1.service": "r1", "old@1.service": "r1"})
    host.switch.switch("g1")
    host.layout.credentials.mkdir()
    (host.layout.credentials / "x").write_text("hunter2-hunter2")
    host.stage("g2", "2.0+b", {"a@1.service": "r2", "b@1.service": "r2", "new@1.service": "r2"})
    host.systemd.broken = lambda unit, release: release == "2.0+b"
    host.systemd.calls.clear()
    assert not host.switch.switch("g2")
    assert (read_link(host.layout.current), read_link(host.layout.live)) == ("1.0+a", "g1")
    assert (host.layout.configuration / "p.env").read_text() == "A=g1\n"
    assert host.systemd.revisions == {"a@1.service": "r1", "b@1.service": "r1", "old@1.service": "r1"}
    assert not (host.layout.units / "new@1.service.d").exists()
    # Nothing behind the unit that failed was touched.
    assert [call for call in host.systemd.calls if call[0] == "restart" and "b@1.service" in call] == []
    assert host.switch.list_lags("g1") == []
    assert not [line for line in host.said if "hunter2" in line]


def test_without_a_former_release_all_is_stopped(host: Host) -> None:
    host.stage("g1", "1.0+a", {"a@1.service": "r1", "b@1.service": "r1"})
    host.systemd.broken = lambda unit, release: unit == "b@1.service"
    assert not host.switch.switch("g1")
    assert not host.layout.current.is_symlink()
    assert host.systemd.revisions == {}
    assert "p.target" not in host.systemd.enabled


def test_a_switch_cut_off_half_way_is_carried_on(host: Host) -> None:
    host.stage("g1", "1.0+a", {"a@1.service": "r1"})
    host.switch.switch("g1")
    host.stage("g2", "2.0+b", {"a@1.service": "r2"})
    # The links were moved, nothing was restarted, then the power went.
    host.layout.live.unlink()
    host.layout.live.symlink_to("generations/g2")
    assert host.switch.list_lags("g2") != []
    host.systemd.broken = lambda unit, release: release == "2.0+b"
    assert not host.switch.switch("g2")
    assert read_link(host.layout.current) == "1.0+a"


def test_units_that_are_gone_are_stopped(host: Host) -> None:
    host.stage("g1", "1.0+a", {"a@1.service": "r1", "a@2.service": "r1"})
    host.switch.switch("g1")
    host.stage("g2", "1.0+a", {"a@1.service": "r1"})
    assert host.switch.switch("g2")
    assert host.systemd.revisions == {"a@1.service": "r1"}
    assert not (host.layout.units / "a@2.service.d").exists()


def test_drift_is_found_and_damage_repaired(host: Host) -> None:
    units = {"a@1.service": "r1"}
    host.stage("g1", "1.0+a", units)
    host.switch.switch("g1")
    (host.layout.units / "a@1.service.d/50.conf").write_text("edited")
    (host.layout.configuration / "p.env").write_text("edited")
    assert any("50.conf differs" in lag for lag in host.switch.list_lags("g1"))
    assert find_damage(host.layout, "g1") == ["p.env"]
    host.stage("g1", "1.0+a", units)
    assert find_damage(host.layout, "g1") == []
    assert host.switch.switch("g1")
    assert host.switch.list_lags("g1") == []


def test_a_refused_configuration_leaves_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = host.layout.root / "tools"
    tools.mkdir()
    (tools / "runuser").write_text('#!/bin/sh\necho "$7: A is out of range"; exit 1\n')
    (tools / "runuser").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    check = {"file": "p.env", "content": "A=900\n", "user": GROUP, "arguments": ["-m", "check", "{file}"]}
    with pytest.raises(CheckError) as raised:
        host.stage("g1", "1.0+a", {}, checks=[check])
    assert f"{host.layout.configuration}/p.env: A is out of range" in str(raised.value)
    assert list(host.layout.generations.glob("*")) == []
    assert list_generations(host.layout) == {}


def test_old_releases_go_and_the_needed_stays(host: Host) -> None:
    for number in range(5):
        host.stage(f"g{number}", f"{number}.0+a", {"a@1.service": f"r{number}"}, keep=2)
        os.utime(host.layout.releases / f"{number}.0+a/.complete", (number, number))
        assert host.switch.switch(f"g{number}")
    (host.layout.releases / "9.0+half").mkdir()
    prune_releases(host.layout, 2, ["4.0+a"])
    assert sorted(list_releases(host.layout)) == ["3.0+a", "4.0+a"]
    assert not (host.layout.releases / "9.0+half").exists()
    assert len(list_generations(host.layout)) == 2


def test_a_damaged_archive_leaves_no_release(host: Host) -> None:
    archive = host.layout.root / "release.tar"
    archive.write_bytes(b"half")
    (host.layout.releases / "1.0+a").mkdir(parents=True)
    with pytest.raises(InstallError, match="arrived damaged"):
        install_release(host.layout, "1.0+a", archive, "0" * 64)
    assert list(host.layout.releases.glob("*")) == []
    assert not archive.exists()


def test_states_are_read_from_systemctl() -> None:
    text = "Id=a@1.service\nActiveState=activating\nSubState=auto-restart\nResult=timeout\nMainPID=0\nNRestarts=1\n\n"
    text += "Id=b@1.service\nActiveState=active\nMainPID=7\nExecMainStartTimestamp=Sat 2026-11-21 02:12:32.5 UTC\n"
    first, second = parse_states(text)
    assert first.has_failed
    assert not second.has_failed
    assert (second.pid, second.started) == (7, 1795227152.5)


def test_waiting_ends_when_units_end_too_often() -> None:
    class Restarting(Systemd):
        asked = 0

        def show(self, units: Any) -> dict[str, UnitState]:
            self.asked += 1
            return {u: UnitState(u, "activating", "auto-restart", "exit-code", endings=self.asked) for u in units}

    systemd = Restarting()
    failed = wait_until_ready(systemd, ["a@1.service"], 60, sleep=lambda seconds: None)
    assert [state.name for state in failed] == ["a@1.service"]
    assert systemd.asked == 3
