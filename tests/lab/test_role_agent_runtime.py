"""The role agent_runtime on real hosts: releases that work and do not, changes, withdrawal, kills."""

from __future__ import annotations

import base64
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.authority import paths
from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host
from groundwork.secrets.declaration import name_declarations
from groundwork.secrets.generation import generate_value
from groundwork.site import load_site
from roles.agent_runtime.quoting import format_environment_line, quote_unit_assignment

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-runtime-{RELEASE}"
DEPLOY = Path("deploys/agents_only.py")
READY = "        self._notifier.ready()"
PORTS = (8000, 8001, 8002, 8003)
# Asked with the identity of root's own tools: agents take calls from known clients only.
ASK = f"""
import ssl, urllib.request as u
context = ssl.create_default_context(cafile="{paths.bundle("chorus")}")
context.load_cert_chain("{paths.certificate("chorus", "operator")}", "{paths.key("chorus", "operator")}")
answers = [u.urlopen(f"https://ADDRESS:{{port}}/ready", timeout=5, context=context) for port in PORTS]
print(*[answer.status for answer in answers])
"""


class Stage:
    """A lab, and a project of its own whose manifest and runtime package a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "inventories", "group_data", "config.py"):
            (root / name).symlink_to(ROOT / name)
        (root / "platforms").mkdir()
        (root / "deploys").mkdir()
        shutil.copytree(ROOT / "examples", root / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        # What the agents rest on comes first, in the order of deploys/site.py.
        roles = ("pki", "redis", "agent_runtime")
        lines = ["from groundwork.site import current_site", *(f"from roles.{r}.deploy import {r}" for r in roles)]
        (root / DEPLOY).write_text("\n".join([*lines, "", "site = current_site()", *(f"{r}(site)" for r in roles), ""]))
        self.launcher = root / "examples/agent_runtime/src/agent_runtime/launcher.py"
        self.launcher_text = self.launcher.read_text()
        self.manifest: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        self.manifest = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.manifest["runtime"]["ready_timeout"] = "30s"
        self.manifest["secrets"]["llm_api_key"] = {"kind": "token"}
        self.launcher.write_text(self.launcher_text)

    def change_launcher(self, old: str, new: str) -> None:
        text = self.launcher.read_text()
        assert old in text
        self.launcher.write_text(text.replace(old, new, 1))

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

    def run(self, command: str, host: str = "app") -> str:
        state = LabState(NAME)
        return capture_command(state, find_host(state, host), [command])[1].strip()

    @property
    def release(self) -> str:
        return self.run("readlink /opt/groundwork/chorus/current").removeprefix("releases/")

    def started(self, pattern: str = "chorus-*@*.service") -> dict[str, str]:
        """When each unit's main process started."""
        shown = self.run(f"systemctl show --property=Id,ExecMainStartTimestampMonotonic,ActiveState '{pattern}'")
        rows = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in shown.split("\n\n")]
        return {r["Id"]: r["ExecMainStartTimestampMonotonic"] for r in rows if r.get("ActiveState") == "active"}

    def ready(self, ports: tuple[int, ...] = PORTS) -> str:
        address = load_site("lab", self.root).inventory.host("app").address
        code = ASK.replace("PORTS", repr(ports)).replace("ADDRESS", address)
        return self.run(f"python3 -c {shlex.quote(code)} 2>&1")


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
def lab_name() -> Iterator[str]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
    yield NAME
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


@pytest.fixture(scope="module")
def module_stage(lab_name: str, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("project"))


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    """The stage with the agents as chorus declares them, all ready."""
    module_stage.reset()
    assert failure(module_stage.apply()) == ""
    assert module_stage.ready() == "200 200 200 200"
    return module_stage


def test_a_first_release_that_does_not_start_leaves_nothing_running(module_stage: Stage) -> None:
    module_stage.reset()
    module_stage.change_launcher("def main() -> int:\n", "def main() -> int:\n    sys.exit(3)\n")
    assert not module_stage.plan().failed_hosts
    result = module_stage.apply()
    assert "there is no former release: the platform is stopped" in failure(result)
    assert module_stage.started() == {}
    assert module_stage.release == ""
    assert module_stage.run("systemctl is-enabled chorus.target") == "disabled"


def test_applied_once_and_nothing_left_to_do(module_stage: Stage) -> None:
    module_stage.reset()
    planned = module_stage.plan()
    assert not planned.failed_hosts
    assert any("Switch to the release" in name for name in changes(planned))
    assert failure(module_stage.apply()) == ""
    assert module_stage.ready() == "200 200 200 200"
    before = module_stage.started()
    assert len(before) == 5
    for result in (module_stage.plan(), module_stage.apply()):
        assert (changes(result), changes(result, "data")) == ([], [])
    assert module_stage.started() == before


@pytest.mark.parametrize("fault", ["crash", "never ready"])
def test_a_release_that_does_not_become_ready_is_switched_back(stage: Stage, fault: str) -> None:
    release, before = stage.release, stage.started()
    if fault == "crash":
        stage.change_launcher("def main() -> int:\n", "def main() -> int:\n    sys.exit('broken on purpose')\n")
    else:
        stage.change_launcher(READY, "        pass")
    result = stage.apply()
    told = failure(result)
    assert "chorus-agent-predictor@1.service is not ready" in told
    assert f"switched back to release {release}: all its units are ready" in told
    assert ("broken on purpose" in told) == (fault == "crash")
    assert stage.release == release
    assert stage.ready() == "200 200 200 200"
    after = stage.started()
    # Only the first replica was tried; the others served all the time.
    assert [unit for unit in before if after[unit] != before[unit]] == ["chorus-agent-predictor@1.service"]
    assert stage.run("systemctl list-units --state=failed --plain --no-legend") == ""


def test_a_corrupt_wheel_stops_the_run_before_any_change(stage: Stage) -> None:
    state = "find /etc/groundwork /opt/groundwork /etc/systemd/system -newer /run/mark | head"
    stage.run("touch /run/mark")
    release, before = stage.release, stage.started()
    wheel = stage.root / "platforms/agent_runtime-0.2.0-py3-none-any.whl"
    wheel.write_bytes(b"PK\x03\x04 not a wheel")
    stage.manifest["runtime"]["package"] = {"wheel": wheel.name}
    told = failure(stage.apply())
    assert told.count("the wheel cannot be used") == 1
    assert wheel.name in told
    assert (stage.release, stage.started(), stage.run(state)) == (release, before, "")


def test_a_value_out_of_range_stops_before_the_switch(stage: Stage) -> None:
    before, content = stage.started(), stage.run("cat /etc/groundwork/chorus/prediction.env")
    configuration = stage.manifest["groups"]["prediction"]["configuration"]
    # Without the schema, which would refuse it before the host is asked.
    del configuration["schema"]
    configuration["values"]["TRUST_INITIAL"] = 900
    told = failure(stage.apply())
    assert "TRUST_INITIAL: given 900; allowed: a number from 0 to 100" in told
    assert "/etc/groundwork/chorus/prediction.env:" in told
    assert stage.started() == before
    assert stage.run("cat /etc/groundwork/chorus/prediction.env") == content
    assert ".partial" not in stage.run("ls /etc/groundwork/chorus/generations")


def test_a_changed_setting_restarts_its_group_alone(stage: Stage) -> None:
    before = stage.started()
    stage.manifest["groups"]["simulation"]["configuration"]["values"]["LLM_RETRIES"] = 7
    assert failure(stage.apply()) == ""
    after = stage.started()
    assert [unit for unit in before if after[unit] != before[unit]] == ["chorus-simulation@1.service"]
    assert "LLM_RETRIES=7" in stage.run("cat /etc/groundwork/chorus/simulation.env")


def test_a_new_secret_reaches_its_processes_alone(stage: Stage) -> None:
    before = stage.started()
    site = load_site("lab", stage.root)
    declared = {one.name: one for one in name_declarations(site.topology.secret_declarations)}
    site.secrets.write("redis_simulation", generate_value(declared["redis_simulation"]))
    assert any("Switch to the release" in name for name in changes(stage.plan()))
    assert failure(stage.apply()) == ""
    after = stage.started()
    assert [unit for unit in before if after[unit] != before[unit]] == ["chorus-simulation@1.service"]


def test_limits_change_without_a_restart(stage: Stage) -> None:
    before = stage.started()
    stage.manifest["groups"]["prediction"]["resources"]["tasks_max"] = 300
    assert failure(stage.apply()) == ""
    assert stage.started() == before
    assert stage.run("systemctl show --property=TasksMax --value groundwork-chorus-prediction.slice") == "300"


def test_what_is_not_declared_any_more_is_removed(stage: Stage) -> None:
    before = stage.started("chorus-agent-predictor@*.service")
    del stage.manifest["groups"]["simulation"]
    del stage.manifest["trials"]["loads"]["stable-agents"]
    stage.manifest["groups"]["prediction"]["agents"]["agent-predictor"]["replicas"] = 3
    assert failure(stage.apply()) == ""
    left = stage.run("ls -R /etc/systemd/system /etc/groundwork/chorus | grep -v generations; cat /etc/passwd")
    left = "\n".join(line for line in left.splitlines() if "/generations/" not in line)
    assert stage.run("systemctl list-units --all --plain --no-legend 'chorus-simulation*'") == ""
    assert "chorus-simulation" not in stage.run("ls /etc/systemd/system; cat /etc/passwd /etc/group")
    assert "simulation" not in stage.run("ls /etc/groundwork/chorus /etc/groundwork/chorus/credentials")
    after = stage.started()
    kept = {unit: when for unit, when in before.items() if "@4" not in unit}
    assert after == kept
    assert stage.ready(PORTS[:3]) == "200 200 200"
    assert changes(stage.plan()) == []


def test_drift_is_mended(stage: Stage) -> None:
    before = stage.started()
    stage.run("echo TRUST_INITIAL=1 >> /etc/groundwork/chorus/simulation.env")
    stage.run("echo '[Service]' >> /etc/systemd/system/chorus-simulation@.service; systemctl disable chorus.target")
    stage.run(
        "systemctl stop chorus-agent-predictor@2.service; rm /usr/local/lib/groundwork/agent_runtime_chorus/units.py"
    )
    planned = changes(stage.plan())
    assert len(planned) >= 3
    assert failure(stage.apply()) == ""
    after = stage.started()
    changed = [unit for unit in sorted(before) if after[unit] != before[unit]]
    assert changed == ["chorus-agent-predictor@2.service", "chorus-simulation@1.service"]
    assert "TRUST_INITIAL" not in stage.run("cat /etc/groundwork/chorus/simulation.env")
    assert changes(stage.plan()) == []


def test_old_releases_are_removed(stage: Stage) -> None:
    stage.manifest["runtime"]["keep_releases"] = 2
    seen = [stage.release]
    for number in range(3):
        stage.change_launcher('"""', f'"""{number} ')
        assert failure(stage.apply()) == ""
        seen.append(stage.release)
    assert len(set(seen)) == 4
    assert sorted(stage.run("ls /opt/groundwork/chorus/releases").split()) == sorted(seen[-2:])
    assert len(stage.run("ls /etc/groundwork/chorus/generations").split()) <= 2


def test_a_killed_run_is_completed_by_the_next(stage: Stage) -> None:
    generator = random.Random(8)
    script = f"api.apply('lab', root=Path({str(stage.root)!r}), deploys=[Path({str(DEPLOY)!r})])"
    code = f"from groundwork.engine import api; from pathlib import Path; {script}"
    for number in range(4):
        stage.change_launcher('"""', f'"""{number} ')
        stage.write()
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
        time.sleep(generator.uniform(6, 22))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert failure(stage.apply()) == ""
        assert stage.ready() == "200 200 200 200"
        assert changes(stage.plan()) == []
    assert stage.run("ls -a /opt/groundwork/chorus | grep -c '^[.][0-9s]'") == "0"


def test_systemd_reads_values_as_they_were_written(module_stage: Stage) -> None:
    values = [
        "a b",
        "it's",
        "a'b\"c$d`e\\f",
        "$(touch /run/oops)",
        "# x",
        "; y",
        "  z  ",
        "%h %% %",
        "\\",
        "é—ü",
        "a=b",
        "",
    ]
    named = {f"KEY{number}": value for number, value in enumerate(values)}
    file = "\n".join(format_environment_line(key, value) for key, value in named.items())
    unit = "\n".join(f"Environment={quote_unit_assignment(f'U{key}', value)}" for key, value in named.items())
    unit = f"[Service]\nType=oneshot\nEnvironmentFile=/run/try.env\nExecStart=sh -c 'env -0 > /run/try.out'\n{unit}\n"
    module_stage.run(f"printf '%s\\n' {shlex.quote(file)} > /run/try.env")
    module_stage.run(f"printf '%s' {shlex.quote(unit)} > /run/systemd/system/try.service; systemctl daemon-reload")
    found = module_stage.run(
        "systemctl start try.service && base64 -w0 /run/try.out; rm /run/systemd/system/try.service"
    )
    given = dict(item.partition("=")[::2] for item in base64.b64decode(found).decode().split("\0"))
    assert {key: given.get(key) for key in named} == named
    assert {key: given.get(f"U{key}") for key in named} == named
    assert module_stage.run("ls /run/oops 2>&1").endswith("No such file or directory")


def test_the_agents_move_and_leave_only_their_data(stage: Stage) -> None:
    for group in stage.manifest["groups"].values():
        group["hosts"] = "data"
    assert failure(stage.apply()) == ""
    assert stage.started() == {}
    left = stage.run("ls /etc/systemd/system /opt/groundwork /etc/groundwork/chorus /usr/local/lib/groundwork")
    assert "chorus-" not in left
    assert "agent_runtime" not in left
    assert stage.run("ls /opt/groundwork /etc/groundwork/chorus/credentials /etc/groundwork/chorus/instances") == (
        "/etc/groundwork/chorus/credentials:\n\n/opt/groundwork:"
    )
    assert "chorus-" not in stage.run("cat /etc/passwd /etc/group")
    assert stage.run("ls /var/lib/chorus-prediction -d") == "/var/lib/chorus-prediction"
    assert changes(stage.plan()) == []
