from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_host import install, list_commands

from groundwork.facts.placed_files import ChangeTimes
from groundwork.facts.systemd_units import UnitState, UnitStates
from groundwork.operations import systemd_units
from groundwork.operations.placement import Placement, build_check

RUNNING = UnitState(load="loaded", active="active", sub="running", enablement="enabled", started=100.0, settled=100.0)


def _commands(
    monkeypatch: pytest.MonkeyPatch,
    states: dict[str, UnitState],
    times: dict[str, float] | None = None,
    executing: bool = True,
    **arguments: Any,
) -> list[str]:
    install(monkeypatch, [systemd_units], {UnitStates: states, ChangeTimes: times or {}}, executing)
    return list_commands(systemd_units.service._inner(**arguments))


def _state(**changes: Any) -> UnitState:
    return UnitState(**(RUNNING.__dict__ | changes))


def test_a_running_enabled_unit_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _commands(monkeypatch, {"a.service": RUNNING}, units="a.service") == []


def test_a_masked_stopped_unit_is_unmasked_enabled_and_started(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"a.service": UnitState(load="masked", enablement="masked")}
    assert _commands(monkeypatch, states, units="a.service") == [
        "systemctl unmask --quiet -- a.service",
        "systemctl enable --quiet -- a.service",
        "systemctl start -- a.service",
    ]


def test_several_units_take_one_command_each_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = _commands(
        monkeypatch, {"a.service": RUNNING}, units=["a.service", "b.service", "c.service"], enabled=None
    )
    assert commands == ["systemctl start -- b.service c.service"]


def test_a_failed_unit_may_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = _commands(monkeypatch, {"a.service": _state(active="failed")}, units="a.service")
    assert commands == ["systemctl reset-failed -- a.service", "systemctl start -- a.service"]


@pytest.mark.parametrize(("changed", "expected"), [(99.9, []), (100.1, ["systemctl restart -- a.service"])])
def test_restart_only_when_an_input_is_newer(
    monkeypatch: pytest.MonkeyPatch, changed: float, expected: list[str]
) -> None:
    times = {"/etc/a": changed, "/etc/b": 5.0}
    found = _commands(
        monkeypatch, {"a.service": RUNNING}, times, units="a.service", restart_inputs=["/etc/a", "/etc/b"]
    )
    assert found == expected


def test_reload_when_a_reload_input_is_newer_and_not_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"a.service": _state(started=100.0, settled=200.0)}
    inputs = {"restart_inputs": ["/r"], "reload_inputs": ["/l"], "units": "a.service"}
    assert _commands(monkeypatch, states, {"/l": 150.0}, **inputs) == []
    assert _commands(monkeypatch, states, {"/l": 250.0}, **inputs) == ["systemctl reload -- a.service"]
    assert _commands(monkeypatch, states, {"/l": 250.0, "/r": 250.0}, **inputs) == ["systemctl restart -- a.service"]


def test_a_unit_that_just_started_is_not_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"a.service": _state(active="inactive", started=0.0)}
    commands = _commands(monkeypatch, states, {"/r": 250.0}, units="a.service", restart_inputs=["/r"])
    assert commands == ["systemctl start -- a.service"]


def test_the_plan_shows_the_restart_that_a_changed_file_brings(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"units": "a.service", "restart_inputs": ["/r"]}
    after = [SimpleNamespace(_maybe_is_change=True)]
    plan = _commands(monkeypatch, {"a.service": RUNNING}, executing=False, after=after, **arguments)
    assert plan == ["systemctl restart -- a.service"]
    assert _commands(monkeypatch, {"a.service": RUNNING}, executing=True, after=after, **arguments) == []
    unchanged = [SimpleNamespace(_maybe_is_change=False)]
    assert _commands(monkeypatch, {"a.service": RUNNING}, executing=False, after=unchanged, **arguments) == []


def test_stopping_and_disabling(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = _commands(monkeypatch, {"a.service": RUNNING}, units="a.service", running=False, enabled=False)
    assert commands == ["systemctl disable --quiet -- a.service", "systemctl stop -- a.service"]
    gone: dict[str, UnitState] = {}
    stopped = _commands(monkeypatch, gone, units="a.service", running=False, enabled=None)
    assert stopped == []


def test_static_units_are_not_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _commands(monkeypatch, {"a.service": _state(enablement="static")}, units="a.service") == []


def test_systemd_reads_again_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    for needed, expected in ((True, ["systemctl daemon-reload"]), (False, [])):
        install(monkeypatch, [systemd_units], {UnitStates: {"a.service": _state(needs_reload=needed)}})
        assert list_commands(systemd_units.daemon_reload._inner(["a.service"])) == expected


verify = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def _judge(path: Path, content: str) -> subprocess.CompletedProcess[str]:
    placement = Placement(str(path), "root", "root", 0o644, [*systemd_units.VERIFY, "{candidate}"])
    candidate = Path(placement.candidate)
    candidate.parent.mkdir(exist_ok=True)
    candidate.write_text(content)
    return subprocess.run(["sh", "-c", build_check(placement)], capture_output=True, text=True, check=False)


@verify
@pytest.mark.parametrize("name", ["a.service", "a@.service"])
def test_good_units_pass_and_wrong_ones_do_not(tmp_path: Path, name: str) -> None:
    good = "[Service]\nExecStart=/bin/true\nSlice=other.slice\n"
    assert _judge(tmp_path / name, good).returncode == 0
    for wrong in ("Typo=1", "Type=nonsense", "MemoryMax=lots", "ExecStartPre=/nonexistent/program"):
        done = _judge(tmp_path / name, good + wrong + "\n")
        assert done.returncode != 0, wrong
        assert done.stderr


@verify
def test_a_drop_in_is_judged_together_with_its_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "a@.service").write_text("[Service]\nExecStart=/bin/true\n")
    monkeypatch.setattr(systemd_units, "UNIT_FOLDERS", (str(tmp_path / "units"),))
    dropin = tmp_path / "a@1.service.d" / "50.conf"
    dropin.parent.mkdir()
    check = systemd_units._build_dropin_check("a@1.service")
    for content, accepted in (("[Service]\nTasksMax=5\n", True), ("[Service]\nTaskMax=5\n", False)):
        placement = Placement(str(dropin), "root", "root", 0o644, check)
        Path(placement.candidate).parent.mkdir(exist_ok=True)
        Path(placement.candidate).write_text(content)
        done = subprocess.run(["sh", "-c", build_check(placement)], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is accepted, done.stderr


@verify
def test_a_drop_in_of_a_masked_instance_is_judged_with_its_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody masked the unit and removed its drop-in: the next apply writes the one and then unmasks."""
    units, masked = tmp_path / "units", tmp_path / "masked"
    units.mkdir()
    masked.mkdir()
    (units / "a@.service").write_text("[Service]\nExecStart=/bin/echo %i\n")
    (masked / "a@1.service").symlink_to("/dev/null")
    monkeypatch.setattr(systemd_units, "UNIT_FOLDERS", (str(masked), str(units)))
    # What systemd itself looks through after the directory of the check.
    check = systemd_units._build_dropin_check("a@1.service").replace('"$stage":', f'"$stage":{masked}:')
    dropin = tmp_path / "a@1.service.d" / "50.conf"
    dropin.parent.mkdir()
    for content, accepted in (("[Service]\nTasksMax=5\n", True), ("[Service]\nTaskMax=5\n", False)):
        placement = Placement(str(dropin), "root", "root", 0o644, check)
        Path(placement.candidate).parent.mkdir(exist_ok=True)
        Path(placement.candidate).write_text(content)
        done = subprocess.run(["sh", "-c", build_check(placement)], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is accepted, done.stderr


@pytest.mark.parametrize(
    ("changed", "active", "expected"),
    [(100.1, "active", ["systemctl reload -- a.service"]), (99.9, "active", []), (100.1, "inactive", [])],
)
def test_only_running_units_read_again_what_is_newer(
    monkeypatch: pytest.MonkeyPatch, changed: float, active: str, expected: list[str]
) -> None:
    states = {"a.service": _state(active=active)}
    install(monkeypatch, [systemd_units], {UnitStates: states, ChangeTimes: {"/a": changed}}, True)
    assert list_commands(systemd_units.reloaded._inner(units="a.service", inputs=["/a", "/missing"])) == expected
