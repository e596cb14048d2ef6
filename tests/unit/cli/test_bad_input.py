"""Mistakes in manifest and inventory through the whole command: every one in a line of its own, nothing contacted."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ("validate", "plan", "apply", "verify")

Manifest = dict[str, Any]


class Project:
    """Chorus on two hosts that this process plays: whoever connects to them is noticed."""

    def __init__(self, root: Path, listener: socket.socket) -> None:
        self.root = root
        self.listener = listener
        for linked in ("examples", "config.py", "deploys", "group_data"):
            (root / linked).symlink_to(ROOT / linked)
        for folder in ("platforms", "inventories"):
            (root / folder).mkdir()
        common = {
            "environment": "farm",
            "platform": "chorus",
            "address": "127.0.0.1",
            "ssh_hostname": "127.0.0.1",
            "ssh_port": listener.getsockname()[1],
            "secrets_folder": str(root / "secrets"),
            "secrets_key": str(root / "key"),
        }
        lines = [
            f"{name} = [({name!r}, {common | {'address': f'192.0.2.{n}'}!r})]\n"
            for n, name in enumerate(("app", "data"))
        ]
        self.inventory = root / "inventories/farm.py"
        self.inventory.write_text("".join(lines))
        self.file = root / "platforms/chorus.yaml"
        self.manifest: Manifest = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.write()

    def write(self) -> None:
        self.file.write_text(yaml.safe_dump(self.manifest, sort_keys=False))

    def count_connections(self) -> int:
        """Connections since the last call."""
        count = 0
        self.listener.settimeout(0)
        while True:
            try:
                self.listener.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("GROUNDWORK_ROOT", str(tmp_path))
    monkeypatch.delenv("GROUNDWORK_DEBUG", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Project(tmp_path, listener)


def name_a_group_that_is_none(manifest: Manifest) -> None:
    manifest["groups"]["prediction"]["hosts"] = "nowhere"


def give_one_port_to_two(manifest: Manifest) -> None:
    manifest["groups"]["simulation"]["agents"]["agent-simulator"]["port"] = 8002


def close_a_circle(manifest: Manifest) -> None:
    manifest["groups"]["prediction"]["needs"].append("agent-simulator")


def exceed_a_range(manifest: Manifest) -> None:
    manifest["groups"]["prediction"]["agents"]["agent-predictor"]["port"] = 70000


def exceed_a_setting(manifest: Manifest) -> None:
    manifest["groups"]["prediction"]["configuration"]["values"]["RISK_THRESHOLD"] = 7


def misspell_a_key(manifest: Manifest) -> None:
    manifest["groups"]["prediction"]["nedes"] = manifest["groups"]["prediction"].pop("needs")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (name_a_group_that_is_none, ("groups.prediction.hosts", "nowhere", "app, data")),
        (give_one_port_to_two, ("8002", "agent-predictor", "agent-simulator")),
        (close_a_circle, ("agent-predictor", "agent-simulator", "->")),
        (exceed_a_range, ("agent-predictor.port", "70000", "65535")),
        (exceed_a_setting, ("RISK_THRESHOLD", "7")),
        (misspell_a_key, ("nedes", "needs")),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_one_mistake_is_one_line(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    command: str,
    spoil: Callable[[Manifest], None],
    words: tuple[str, ...],
) -> None:
    spoil(project.manifest)
    project.write()
    assert main([command, "farm"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: platforms/chorus.yaml:")
    assert [word for word in words if word not in lines[0]] == []
    assert project.count_connections() == 0


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("version: 1\nplatform: chorus\n  groups: [\n", "YAML"),
        ("\x00\x01\x02", "YAML"),
        ("- a\n- list\n", "mapping"),
        ("version: 1\nplatform: chorus\nplatform: chorus\n", "platform"),
        ("", ""),
    ],
)
def test_what_is_no_manifest_is_refused(
    project: Project, capsys: pytest.CaptureFixture[str], text: str, word: str
) -> None:
    project.file.write_text(text)
    for command in ("plan", "apply"):
        assert main([command, "farm"]) == 1
        said = capsys.readouterr().err
        assert said
        assert all(line.startswith("error: platforms/chorus.yaml") for line in said.splitlines()), said
        assert word in said
    assert project.count_connections() == 0


def test_all_mistakes_at_once(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for spoil in (exceed_a_range, misspell_a_key):
        spoil(project.manifest)
    project.manifest["services"]["redis"]["maximum_clients"] = -1
    project.write()
    assert main(["apply", "farm"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [sum(word in line for line in lines) for word in ("70000", "nedes", "maximum_clients")] == [1, 1, 1]
    assert project.count_connections() == 0


@pytest.mark.parametrize("text", ["", "app = []\n", "this is not Python\n"])
def test_an_inventory_without_hosts(project: Project, capsys: pytest.CaptureFixture[str], text: str) -> None:
    project.inventory.write_text(text)
    for command in COMMANDS:
        assert main([command, "farm"]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert "inventories/farm.py" in lines[0]


def test_ten_thousand_agents_are_judged_in_bounded_time(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    group = project.manifest["groups"]["simulation"]
    agent = {"module": "agent_runtime.chorus.simulator"}
    group["agents"] = {f"agent-{number}": {**agent, "port": 10000 + number} for number in range(10_000)}
    # The last one takes a port that another has: the mistake must be found among all of them.
    group["agents"]["agent-9999"]["port"] = 10000
    project.write()
    started = time.monotonic()
    assert main(["plan", "farm"]) == 1
    assert time.monotonic() - started < 120
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "10000" in line and "agent-9999" in line]
    assert len(lines) < 5
    assert project.count_connections() == 0


def test_a_sound_manifest_does_connect(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The hosts would have noticed: without a mistake, the same command knocks at them."""
    assert main(["validate", "farm"]) == 0
    assert project.count_connections() == 0
    assert main(["plan", "farm"]) == 1
    assert project.count_connections() > 0
    assert "--limit app,data" in capsys.readouterr().out
