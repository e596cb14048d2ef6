"""The role agent_runtime on real hosts: releases that work and do not, changes, withdrawal, kills."""

from __future__ import annotations

import base64
import random
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from role_stage import LINKED, RELEASE, ROOT, RoleStage, changes, role_lab

from groundwork.authority import paths
from groundwork.engine.results import RunResult
from groundwork.secrets.declaration import name_declarations
from groundwork.secrets.generation import generate_value
from roles.agent_runtime.quoting import format_environment_line, quote_unit_assignment

NAME = f"role-runtime-{RELEASE}"
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


class Stage(RoleStage):
    """The agents of chorus and what they rest on, with a runtime package that a test may change."""

    def __init__(self, root: Path) -> None:
        linked = [name for name in LINKED if name != "examples"]
        # In the order of deploys/site.py.
        super().__init__(root, NAME, "chorus", ("pki", "redis", "agent_runtime"), linked)
        shutil.copytree(ROOT / "examples", root / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        self.launcher = root / "examples/agent_runtime/src/agent_runtime/launcher.py"
        self.launcher_text = self.launcher.read_text()
        self.reset()

    def reset(self) -> None:
        self.manifest = self.read_manifest()
        self.manifest["runtime"]["ready_timeout"] = "30s"
        self.manifest["secrets"]["llm_api_key"] = {"kind": "token"}
        self.launcher.write_text(self.launcher_text)

    def change_launcher(self, old: str, new: str) -> None:
        text = self.launcher.read_text()
        assert old in text
        self.launcher.write_text(text.replace(old, new, 1))

    def on_app(self, command: str) -> str:
        return self.run("app", command)

    @property
    def release(self) -> str:
        return self.on_app("readlink /opt/groundwork/chorus/current").removeprefix("releases/")

    def all_started(self, pattern: str = "chorus-*@*.service") -> dict[str, str]:
        """When each unit's main process started."""
        shown = self.on_app(f"systemctl show --property=Id,ExecMainStartTimestampMonotonic,ActiveState '{pattern}'")
        rows = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in shown.split("\n\n")]
        return {r["Id"]: r["ExecMainStartTimestampMonotonic"] for r in rows if r.get("ActiveState") == "active"}

    def ready(self, ports: tuple[int, ...] = PORTS) -> str:
        address = self.site.inventory.host("app").address
        code = ASK.replace("PORTS", repr(ports)).replace("ADDRESS", address)
        return self.on_app(f"python3 -c {shlex.quote(code)} 2>&1")


def app_changes(result: RunResult) -> list[str]:
    """Names of the operations that did not leave the agents' host as it was."""
    return changes(result)["app"]


def failure(result: RunResult) -> str:
    """Why a run did not get to its end; empty when it did."""
    reasons = [str(problem) for problem in result.problems]
    for host in result.failed_hosts:
        reasons += [f"{host.name}: {host.reason}", *(op.error for op in host.operations if op.error)]
    return "\n".join(reasons)


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with role_lab(NAME, "chorus"):
        yield Stage(tmp_path_factory.mktemp("project"))


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
    assert module_stage.all_started() == {}
    assert module_stage.release == ""
    assert module_stage.on_app("systemctl is-enabled chorus.target") == "disabled"


def test_applied_once_and_nothing_left_to_do(module_stage: Stage) -> None:
    module_stage.reset()
    planned = module_stage.plan()
    assert not planned.failed_hosts
    assert any("Switch to the release" in name for name in app_changes(planned))
    assert failure(module_stage.apply()) == ""
    assert module_stage.ready() == "200 200 200 200"
    before = module_stage.all_started()
    assert len(before) == 5
    for result in (module_stage.plan(), module_stage.apply()):
        assert changes(result) == {"app": [], "data": []}
    assert module_stage.all_started() == before


@pytest.mark.parametrize("fault", ["crash", "never ready"])
def test_a_release_that_does_not_become_ready_is_switched_back(stage: Stage, fault: str) -> None:
    release, before = stage.release, stage.all_started()
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
    after = stage.all_started()
    # Only the first replica was tried; the others served all the time.
    assert [unit for unit in before if after[unit] != before[unit]] == ["chorus-agent-predictor@1.service"]
    assert stage.on_app("systemctl list-units --state=failed --plain --no-legend") == ""


def test_a_corrupt_wheel_stops_the_run_before_any_change(stage: Stage) -> None:
    state = "find /etc/groundwork /opt/groundwork /etc/systemd/system -newer /run/mark | head"
    stage.on_app("touch /run/mark")
    release, before = stage.release, stage.all_started()
    wheel = stage.root / "platforms/agent_runtime-0.2.0-py3-none-any.whl"
    wheel.write_bytes(b"PK\x03\x04 not a wheel")
    stage.manifest["runtime"]["package"] = {"wheel": wheel.name}
    told = failure(stage.apply())
    assert told.count("the wheel cannot be used") == 1
    assert wheel.name in told
    assert (stage.release, stage.all_started(), stage.on_app(state)) == (release, before, "")


def test_a_value_out_of_range_stops_before_the_switch(stage: Stage) -> None:
    before, content = stage.all_started(), stage.on_app("cat /etc/groundwork/chorus/prediction.env")
    configuration = stage.manifest["groups"]["prediction"]["configuration"]
    # Without the schema, which would refuse it before the host is asked.
    del configuration["schema"]
    configuration["values"]["TRUST_INITIAL"] = 900
    told = failure(stage.apply())
    assert "TRUST_INITIAL: given 900; allowed: a number from 0 to 100" in told
    assert "/etc/groundwork/chorus/prediction.env:" in told
    assert stage.all_started() == before
    assert stage.on_app("cat /etc/groundwork/chorus/prediction.env") == content
    assert ".partial" not in stage.on_app("ls /etc/groundwork/chorus/generations")


def test_a_changed_setting_restarts_its_group_alone(stage: Stage) -> None:
    before = stage.all_started()
    stage.manifest["groups"]["simulation"]["configuration"]["values"]["LLM_RETRIES"] = 7
    assert failure(stage.apply()) == ""
    after = stage.all_started()
    assert [unit for unit in before if after[unit] != before[unit]] == ["chorus-simulation@1.service"]
    assert "LLM_RETRIES=7" in stage.on_app("cat /etc/groundwork/chorus/simulation.env")


def test_a_new_secret_reaches_its_processes_alone(stage: Stage) -> None:
    before = stage.all_started()
    site = stage.site
    declared = {one.name: one for one in name_declarations(site.topology.secret_declarations)}
    site.secrets.write("redis_simulation", generate_value(declared["redis_simulation"]))
    assert any("Switch to the release" in name for name in app_changes(stage.plan()))
    assert failure(stage.apply()) == ""
    after = stage.all_started()
    assert [unit for unit in before if after[unit] != before[unit]] == ["chorus-simulation@1.service"]


def test_limits_change_without_a_restart(stage: Stage) -> None:
    before = stage.all_started()
    stage.manifest["groups"]["prediction"]["resources"]["tasks_max"] = 300
    assert failure(stage.apply()) == ""
    assert stage.all_started() == before
    assert stage.on_app("systemctl show --property=TasksMax --value groundwork-chorus-prediction.slice") == "300"


def test_what_is_not_declared_any_more_is_removed(stage: Stage) -> None:
    before = stage.all_started("chorus-agent-predictor@*.service")
    del stage.manifest["groups"]["simulation"]
    del stage.manifest["trials"]["loads"]["stable-agents"]
    stage.manifest["groups"]["prediction"]["agents"]["agent-predictor"]["replicas"] = 3
    assert failure(stage.apply()) == ""
    left = stage.on_app("ls -R /etc/systemd/system /etc/groundwork/chorus | grep -v generations; cat /etc/passwd")
    left = "\n".join(line for line in left.splitlines() if "/generations/" not in line)
    assert stage.on_app("systemctl list-units --all --plain --no-legend 'chorus-simulation*'") == ""
    assert "chorus-simulation" not in stage.on_app("ls /etc/systemd/system; cat /etc/passwd /etc/group")
    assert "simulation" not in stage.on_app("ls /etc/groundwork/chorus /etc/groundwork/chorus/credentials")
    after = stage.all_started()
    kept = {unit: when for unit, when in before.items() if "@4" not in unit}
    assert after == kept
    assert stage.ready(PORTS[:3]) == "200 200 200"
    assert app_changes(stage.plan()) == []


def test_drift_is_mended(stage: Stage) -> None:
    before = stage.all_started()
    stage.on_app("echo TRUST_INITIAL=1 >> /etc/groundwork/chorus/simulation.env")
    stage.on_app("echo '[Service]' >> /etc/systemd/system/chorus-simulation@.service; systemctl disable chorus.target")
    stage.on_app(
        "systemctl stop chorus-agent-predictor@2.service; rm /usr/local/lib/groundwork/agent_runtime_chorus/units.py"
    )
    planned = app_changes(stage.plan())
    assert len(planned) >= 3
    assert failure(stage.apply()) == ""
    after = stage.all_started()
    changed = [unit for unit in sorted(before) if after[unit] != before[unit]]
    assert changed == ["chorus-agent-predictor@2.service", "chorus-simulation@1.service"]
    assert "TRUST_INITIAL" not in stage.on_app("cat /etc/groundwork/chorus/simulation.env")
    assert app_changes(stage.plan()) == []


def test_old_releases_are_removed(stage: Stage) -> None:
    stage.manifest["runtime"]["keep_releases"] = 2
    seen = [stage.release]
    for number in range(3):
        stage.change_launcher('"""', f'"""{number} ')
        assert failure(stage.apply()) == ""
        seen.append(stage.release)
    assert len(set(seen)) == 4
    assert sorted(stage.on_app("ls /opt/groundwork/chorus/releases").split()) == sorted(seen[-2:])
    assert len(stage.on_app("ls /etc/groundwork/chorus/generations").split()) <= 2


def test_a_killed_run_is_completed_by_the_next(stage: Stage) -> None:
    generator = random.Random(8)
    for number in range(4):
        stage.change_launcher('"""', f'"""{number} ')
        stage.kill_apply(generator.uniform(6, 22))
        assert failure(stage.apply()) == ""
        assert stage.ready() == "200 200 200 200"
        assert app_changes(stage.plan()) == []
    assert stage.on_app("ls -a /opt/groundwork/chorus | grep -c '^[.][0-9s]'") == "0"


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
    module_stage.on_app(f"printf '%s\\n' {shlex.quote(file)} > /run/try.env")
    module_stage.on_app(f"printf '%s' {shlex.quote(unit)} > /run/systemd/system/try.service; systemctl daemon-reload")
    found = module_stage.on_app(
        "systemctl start try.service && base64 -w0 /run/try.out; rm /run/systemd/system/try.service"
    )
    given = dict(item.partition("=")[::2] for item in base64.b64decode(found).decode().split("\0"))
    assert {key: given.get(key) for key in named} == named
    assert {key: given.get(f"U{key}") for key in named} == named
    assert module_stage.on_app("ls /run/oops 2>&1").endswith("No such file or directory")


def test_the_agents_move_and_leave_only_their_data(stage: Stage) -> None:
    for group in stage.manifest["groups"].values():
        group["hosts"] = "data"
    assert failure(stage.apply()) == ""
    assert stage.all_started() == {}
    left = stage.on_app("ls /etc/systemd/system /opt/groundwork /etc/groundwork/chorus /usr/local/lib/groundwork")
    assert "chorus-" not in left
    assert "agent_runtime" not in left
    assert stage.on_app("ls /opt/groundwork /etc/groundwork/chorus/credentials /etc/groundwork/chorus/instances") == (
        "/etc/groundwork/chorus/credentials:\n\n/opt/groundwork:"
    )
    assert "chorus-" not in stage.on_app("cat /etc/passwd /etc/group")
    assert stage.on_app("ls /var/lib/chorus-prediction -d") == "/var/lib/chorus-prediction"
    assert app_changes(stage.plan()) == []
