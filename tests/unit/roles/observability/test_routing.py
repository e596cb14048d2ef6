"""Who is told of which alert, when nobody is, and what amtool says to the configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from groundwork.manifest.backup import MaintenanceWindow
from groundwork.manifest.platform import Platform
from groundwork.objectives.derivation import derive_objectives
from groundwork.objectives.files import dump
from groundwork.problems import ProblemError
from groundwork.secrets.value import SecretValue
from roles.observability.maintenance import make_intervals
from roles.observability.routing import make_configuration
from tests.unit.objectives.tools import AMTOOL
from tests.unit.topology.systems import minimal

RECEIVERS = {
    "chat": {"kind": "discord", "secret": "chat", "severities": ["ticket"]},
    "pager": {"kind": "pagerduty", "secret": "pager", "severities": ["page"]},
    "hook": {"kind": "webhook", "secret": "hook"},
    "post": {"kind": "email", "secret": "post", "teams": ["payments"]},
}
SECRETS = {
    "chat": "https://discord.example.org/api/webhooks/1/s3cret",
    "pager": "0123456789abcdef0123456789abcdef",
    "hook": "https://hooks.example.org/alerts",
    "post": "smtps://robot%40example.org:pa%3Ass@mail.example.org:465/?from=robot@example.org&to=duty@example.org",
}


def configure(**parts: Any) -> dict[str, Any]:
    data = minimal(
        services={"redis": {"kind": "redis", "hosts": "red"}},
        groups={
            "work": {"hosts": "red", "module": "m", "needs": ["redis"], "agents": {"worker": {"port": 9000}}},
            "play": {"hosts": "red", "module": "m", "agents": {"player": {"port": 9001}}},
        },
        objectives={
            "work": {"groups": ["work"], "availability": 99.9},
            "play": {"groups": ["play"], "availability": 99.9},
            "all": {"groups": ["work", "play"], "availability": 99.9},
            "store": {"services": ["redis"], "availability": 99.9},
        },
        observability={"prometheus": {"hosts": "red"}, "alertmanager": {"hosts": "red", "receivers": RECEIVERS}},
        maintenance={"weekly": {"calendar": "Sun *-*-* 02:00:00 UTC", "duration": "2h"}},
        secrets={name: {"kind": "provided"} for name in SECRETS},
        **parts,
    )
    platform = Platform.model_validate(data)
    secrets = {name: SecretValue(value) for name, value in SECRETS.items()}
    return make_configuration(platform, derive_objectives(platform), secrets)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "alertmanager.yml"
    target.write_text(dump(configure()))
    return target


@AMTOOL
def test_amtool_accepts_it(path: Path) -> None:
    done = subprocess.run(["amtool", "check-config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@AMTOOL
@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["severity=page"], "pager,hook"),
        (["severity=ticket"], "chat,hook"),
        (["severity=ticket", "team=payments"], "chat,hook,post"),
        (["severity=page", "team=payments"], "pager,hook,post"),
        (["severity=info"], "nobody"),
    ],
)
def test_alerts_go_where_they_should(path: Path, labels: list[str], receivers: str) -> None:
    command = ["amtool", "config", "routes", "test", f"--config.file={path}", f"--verify.receivers={receivers}"]
    done = subprocess.run([*command, *labels], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_service_that_is_down_holds_back_those_that_need_it() -> None:
    [rule] = [rule for rule in configure()["inhibit_rules"] if 'objective="store"' in rule["source_matchers"]]
    assert rule["target_matchers"] == ['objective=~"work"']


def test_every_route_keeps_quiet_during_maintenance() -> None:
    configuration = configure()
    assert [interval["name"] for interval in configuration["time_intervals"]] == ["weekly"]
    assert all(route["mute_time_intervals"] == ["weekly"] for route in configuration["route"]["routes"])


def test_a_mail_servers_address_must_say_from_whom_to_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SECRETS, "post", "smtps://mail.example.org/secret-part")
    with pytest.raises(ProblemError, match="from=ADDRESS") as caught:
        configure()
    assert "secret-part" not in str(caught.value)


def window(calendar: str, duration: str = "2h") -> list[dict[str, Any]]:
    declared = MaintenanceWindow.model_validate({"calendar": calendar, "duration": duration})
    [interval] = make_intervals({"it": declared})
    parts: list[dict[str, Any]] = interval["time_intervals"]
    return parts


def test_windows_become_time_intervals() -> None:
    times = [{"start_time": "02:00", "end_time": "04:00"}]
    assert window("Sun *-*-* 02:00:00 UTC") == [{"times": times, "weekdays": ["sunday"]}]
    assert window("*-*-* 02:00:00") == [{"times": times}]
    assert window("Sat *-*-1..7 01:00:00 UTC", "4h") == [
        {"times": [{"start_time": "01:00", "end_time": "05:00"}], "weekdays": ["saturday"], "days_of_month": ["1:7"]}
    ]
    assert window("Mon..Wed,Fri *-*-* 02:00:00 Europe/Berlin") == [
        {"times": times, "weekdays": ["monday", "tuesday", "wednesday", "friday"], "location": "Europe/Berlin"}
    ]
    assert window("Sun *-*-* 23:00:00 UTC", "26h") == [
        {"times": [{"start_time": "23:00", "end_time": "24:00"}], "weekdays": ["sunday"]},
        {"times": [{"start_time": "00:00", "end_time": "24:00"}], "weekdays": ["monday"]},
        {"times": [{"start_time": "00:00", "end_time": "01:00"}], "weekdays": ["tuesday"]},
    ]


@pytest.mark.parametrize("calendar", ["weekly", "Sun *-1-* 02:00:00", "Sat *-*-1..7 23:00:00 UTC", "Foo *-*-* 02:00"])
def test_what_alertmanager_cannot_keep_is_refused(calendar: str) -> None:
    with pytest.raises(ProblemError, match="such as Sun"):
        window(calendar)
