"""The role container_engine, and agent groups that run as containers, on real hosts: Docker inside the lab's hosts."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.authority import paths
from groundwork.engine import api
from groundwork.engine.checks import Outcome
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.engine.verification import verify
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host
from groundwork.secrets.declaration import name_declarations
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-containers-{RELEASE}"
DEPLOY = Path("deploys/containers.py")
# In the order of deploys/site.py.
STEPS = {
    "pki": "pki",
    "open_firewall": "firewall",
    "redis": "redis",
    "container_engine": "container_engine",
    "agent_runtime": "agent_runtime",
    "retire_container_engine": "container_engine",
    "firewall": "firewall",
}
UNITS = ("chorus-agent-predictor@1", "chorus-agent-predictor@2", "chorus-simulation@1")
CONTAINERS = [unit.replace("@", "-") for unit in UNITS]
# Asked with the identity of root's own tools: agents take calls from known clients only.
ASK = f"""
import ssl, urllib.request as u
context = ssl.create_default_context(cafile="{paths.bundle("chorus")}")
context.load_cert_chain("{paths.certificate("chorus", "operator")}", "{paths.key("chorus", "operator")}")
answers = [u.urlopen(f"https://ADDRESS:{{port}}/ready", timeout=5, context=context) for port in (8000, 8001)]
print(*[answer.status for answer in answers])
"""


class Stage:
    """A lab, and a project of its own whose manifest a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "inventories", "config.py"):
            (root / name).symlink_to(ROOT / name)
        for name in ("platforms", "deploys", "group_data"):
            (root / name).mkdir()
        shutil.copytree(ROOT / "examples", root / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(ROOT / "group_data/all.py", root / "group_data/all.py")
        lines = [f"from roles.{role}.deploy import {step}" for step, role in STEPS.items()]
        calls = [f"{step}(site)" for step in STEPS]
        text = "\n".join(["from groundwork.site import current_site", *lines, "site = current_site()", *calls, ""])
        (root / DEPLOY).write_text(text)
        self.manifest: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        self.manifest = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.manifest["runtime"]["ready_timeout"] = "120s"
        self.manifest["secrets"]["llm_api_key"] = {"kind": "token"}
        groups = self.manifest["groups"]
        groups["prediction"]["agents"]["agent-predictor"]["replicas"] = 2
        for group in groups.values():
            group |= {"mode": "container", "container": {"image": "chorus-runtime"}}

    def write(self) -> None:
        (self.root / "platforms/chorus.yaml").write_text(yaml.safe_dump(self.manifest))
        site = load_site("lab", self.root)
        site.secrets.initialise()
        site.authority.initialise()
        site.secrets.ensure(name_declarations(site.topology.secret_declarations))

    def apply(self) -> RunResult:
        self.write()
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        self.write()
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def verify(self, *roles: str) -> dict[str, Outcome]:
        """Outcomes of the checks of some roles; the other roles were not applied here."""
        found = verify("lab", root=self.root)
        assert not found.problems
        return {f"{c.host}: {c.role}: {c.name}: {c.reason}": c.outcome for c in found.checks if c.role in roles}

    def run(self, command: str, host: str = "app") -> str:
        state = LabState(NAME)
        return capture_command(state, find_host(state, host), [command])[1].strip()

    def ready(self, host: str = "app") -> str:
        address = load_site("lab", self.root).inventory.host("app").address
        return self.run(f"python3 -c {shlex.quote(ASK.replace('ADDRESS', address))} 2>&1 | tail -n 1", host)

    def wait_ready(self) -> None:
        """Docker has just started: what was on its way when it made its tables anew is sent again."""
        end = time.monotonic() + 60
        while (answer := self.ready()) != "200 200":
            assert time.monotonic() < end, f"{answer}: {self.run('docker ps; iptables-save; ip route')}"
            time.sleep(1)

    def wait_started(self) -> dict[str, str]:
        """A unit that notices that its container is gone is started anew by systemd, which takes a moment."""
        end = time.monotonic() + 60
        while sorted(started := self.started()) != CONTAINERS:
            assert time.monotonic() < end, self.run("docker ps --all; systemctl --no-pager status 'chorus-*'")
            time.sleep(1)
        return started

    def started(self) -> dict[str, str]:
        """When each container started."""
        form = "{{.Name}} {{.State.StartedAt}}"
        shown = self.run(f"docker inspect --format '{form}' $(docker ps -q) 2>/dev/null")
        return {line.split()[0].lstrip("/"): line.split()[1] for line in shown.splitlines() if line.strip()}


def changes(result: RunResult, host: str = "app") -> list[str]:
    """Names of the operations that did not leave a host as it was."""
    found = next(each for each in result.hosts if each.name == host)
    return [op.name for op in found.operations if op.status is not OperationStatus.UNCHANGED]


def failure(result: RunResult) -> str:
    """Why a run did not get to its end; empty when it did."""
    reasons = [str(problem) for problem in result.problems]
    for host in result.failed_hosts:
        reasons += [f"{host.name}: {host.reason}", *(op.error for op in host.operations if op.error)]
    return "\n".join(reasons)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
    yield Stage(tmp_path_factory.mktemp("project"))
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


def test_applied_once_and_nothing_left_to_do(stage: Stage) -> None:
    stage.reset()
    assert not stage.plan().failed_hosts
    assert failure(stage.apply()) == ""
    assert stage.ready() == "200 200"
    before = stage.started()
    assert sorted(before) == CONTAINERS
    for result in (stage.plan(), stage.apply()):
        assert (changes(result), changes(result, "data")) == ([], [])
    assert stage.started() == before
    # What makes images must not take the host's mounts from its services: they would get no credentials any more.
    assert stage.run("findmnt --noheadings --output PROPAGATION /").startswith("shared")


def test_verification_finds_nothing(stage: Stage) -> None:
    stage.reset()
    stage.write()
    checks = stage.verify(*STEPS.values())
    assert [name for name, outcome in checks.items() if outcome is Outcome.FAILED] == []
    assert sum("container_engine" in name for name in checks) > 20


def test_what_is_changed_by_hand_is_found_and_mended(stage: Stage) -> None:
    stage.reset()
    before = stage.started()
    stage.run(f"docker rm --force {CONTAINERS[2]}; systemctl stop docker.socket docker; rm /etc/docker/daemon.json")
    assert changes(stage.plan())
    assert failure(stage.apply()) == ""
    after = stage.wait_started()
    assert after[CONTAINERS[2]] != before[CONTAINERS[2]]
    stage.wait_ready()
    assert changes(stage.apply()) == []


def test_another_setting_of_one_group_restarts_that_group_alone(stage: Stage) -> None:
    stage.reset()
    stage.apply()
    before = stage.started()
    group = stage.manifest["groups"]["simulation"]
    group["environment"] = {**(group.get("environment") or {}), "EXTRA_SETTING": "seen"}
    assert failure(stage.apply()) == ""
    after = stage.started()
    assert {name for name in CONTAINERS if after[name] != before[name]} == {CONTAINERS[2]}
    told = stage.run(f"docker inspect --format '{{{{json .Config.Env}}}}' {CONTAINERS[2]}")
    assert "EXTRA_SETTING=seen" in told
    assert changes(stage.apply()) == []


def test_groups_become_processes_again_and_leave_no_container(stage: Stage) -> None:
    stage.reset()
    for group in stage.manifest["groups"].values():
        del group["mode"], group["container"]
    assert failure(stage.apply()) == ""
    assert stage.ready() == "200 200"
    for unit in UNITS:
        pid = stage.run(f"systemctl show --property=MainPID --value {unit}.service")
        assert "agent_runtime" in stage.run(f"tr '\\0' ' ' < /proc/{pid}/cmdline")
    # No group runs in a container: the engine that this role set up goes, too, with its rules and its settings.
    assert (
        stage.run("docker ps --all --quiet; systemctl is-active docker.service docker.socket") == "inactive\ninactive"
    )
    assert stage.run("ls /etc/docker/daemon.json /etc/groundwork/chorus/compose 2>/dev/null") == ""
    assert stage.run("iptables-save | grep -c groundwork") == "0"
    assert changes(stage.apply()) == []
