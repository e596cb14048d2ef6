"""The role gpu on lab hosts whose cards are test doubles: agents with real units around cards that are none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.authority.store import FOLDER
from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.boot import wait_for_boot
from groundwork.lab.cards import DESCRIPTION, describe_cards
from groundwork.lab.engine import connect
from groundwork.lab.hosts import find_container
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.secrets.declaration import name_declarations
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-gpu-{RELEASE}"
DEPLOY = Path("deploys/gpu_only.py")
GROUPS = ("vision_gpu", "speech_gpu", "learning_gpu", "reasoning_gpu", "vision_dream_gpu")
VISION, SPEECH = "ai-system-vision_gpu@1.service", "ai-system-speech_gpu@1.service"
DREAM = "ai-system-vision_dream_gpu@1.service"
A100 = "NVIDIA A100-SXM4-40GB"


class Stage:
    """A lab, and a project whose manifest has the GPU groups of ai-system and one server of Redis."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "inventories", "group_data", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        (root / "platforms").mkdir()
        (root / "deploys").mkdir()
        roles = ("pki", "redis", "gpu", "agent_runtime")
        lines = ["from groundwork.site import current_site", *(f"from roles.{r}.deploy import {r}" for r in roles)]
        (root / DEPLOY).write_text("\n".join([*lines, "", "site = current_site()", *(f"{r}(site)" for r in roles), ""]))
        whole = yaml.safe_load((ROOT / "platforms/ai-system.yaml").read_text())
        self.manifest: dict[str, Any] = {key: whole[key] for key in ("version", "platform", "runtime", "lab")}
        self.manifest["machines"] = {name: {"gpus": whole["machines"][name]["gpus"]} for name in ("main_pc", "pc2")}
        self.manifest["groups"] = {name: {**whole["groups"][name], "needs": ["redis"]} for name in GROUPS}
        # Agents take their work from somewhere; one server is enough here.
        self.manifest["services"] = {"redis": {"hosts": "main_pc", "memory_max": "64MiB"}}

    def share(self, **shares: dict[str, Any] | None) -> None:
        """Give groups other shares; None takes the group away, with its agents."""
        for name, share in shares.items():
            if share is None:
                self.manifest["groups"].pop(name, None)
            else:
                self.manifest["groups"][name]["gpu"] = share

    def write(self) -> None:
        (self.root / "platforms/ai-system.yaml").write_text(yaml.safe_dump(self.manifest, sort_keys=False))
        site = load_site("lab", self.root)
        site.secrets.initialise()
        site.secrets.ensure(name_declarations(site.topology.secret_declarations))
        if not (site.secrets_folder / FOLDER).exists():
            site.authority.initialise()

    def apply(self, **data: bool) -> RunResult:
        self.write()
        return api.apply("lab", root=self.root, deploys=[DEPLOY], limit=["main-pc", "pc2"], data=data)

    def plan(self) -> RunResult:
        self.write()
        return api.plan("lab", root=self.root, deploys=[DEPLOY], limit=["main-pc", "pc2"])

    def run(self, host: str, command: str) -> str:
        call = [sys.executable, "-m", "groundwork.cli.lab", "exec", "--json", "--name", NAME, host, "--", command]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
        return str(json.loads(done.stdout)["stdout"]).strip()

    def environment(self, host: str, unit: str) -> dict[str, str]:
        """What a running process was given."""
        command = f"cat /proc/$(systemctl show --property=MainPID --value {unit})/environ | tr '\\0' '\\n'"
        return dict(line.partition("=")[::2] for line in self.run(host, f'sudo sh -c "{command}"').splitlines())

    def verify(self) -> str:
        """The checks of this role on both hosts; empty when they pass."""
        command = [sys.executable, "-m", "pytest", "-q", "tests/verify/test_gpu.py", "--env", "lab"]
        command += ["--limit", "main-pc", "--limit", "pc2", "-p", "no:cacheprovider"]
        environment = {**os.environ, "GROUNDWORK_ROOT": str(self.root)}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
        return "" if done.returncode == 0 else done.stdout[-4000:]

    def show(self) -> str:
        """What ``groundwork gpu show`` draws."""
        command = [sys.executable, "-m", "groundwork.cli.main", "gpu", "show", "lab"]
        environment = {**os.environ, "GROUNDWORK_ROOT": str(self.root)}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def change_cards(self, host: str, *models: str) -> list[str]:
        """Put other cards into a host, and return their UUIDs."""
        description = describe_cards(models, f"{NAME}/{host}")
        text = json.dumps(description).replace('"', '\\"')
        self.run(host, f"sudo sh -c \"printf %s '{text}' > {DESCRIPTION}; rm -rf /run/nvidia-double\"")
        return [str(card["uuid"]) for card in description["cards"]]

    def smi(self, host: str, arguments: str) -> str:
        return self.run(host, f"sudo nvidia-smi {arguments}")

    def changing(self, host: str) -> list[str]:
        """The changing commands that nvidia-smi has had since it was last asked."""
        path = "/run/nvidia-double/commands.jsonl"
        lines = self.run(host, f"sudo cat {path}; sudo rm -f {path}").splitlines()
        commands = [" ".join(json.loads(line)) for line in lines]
        return [c for c in commands if re.search(r"-(mig [01]|-gpu-reset|cgi|dci|dgi|cci|c |pm )", c)]


def quiet(result: RunResult) -> dict[str, list[str]]:
    """Names of the operations that did not leave their host as it was."""
    return {
        h.name: [op.name for op in h.operations if op.status is not OperationStatus.UNCHANGED] for h in result.hosts
    }


def failures(result: RunResult) -> list[str]:
    return [f"{host.name}: {host.reason}" for host in result.hosts if host.failed]


NOTHING: dict[str, list[str]] = {"main-pc": [], "pc2": []}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "ai-system", RELEASE, Phases(print))
    yield Stage(tmp_path_factory.mktemp("project"))
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


def test_geforce_cards_are_shared_by_mps(stage: Stage) -> None:
    """In this order: each test goes on from where the one before it ended."""
    stage.write()
    planned = stage.plan()
    assert failures(planned) == []
    assert "Share GPUs | Lay out the cards" in quiet(planned)["main-pc"]
    assert failures(stage.apply()) == []
    assert quiet(stage.plan()) == NOTHING
    assert quiet(stage.apply()) == NOTHING
    vision, speech = stage.environment("main-pc", VISION), stage.environment("main-pc", SPEECH)
    assert vision["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "25"
    assert vision["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=6141M"
    assert vision["CUDA_VISIBLE_DEVICES"] == speech["CUDA_VISIBLE_DEVICES"]
    assert vision["CUDA_VISIBLE_DEVICES"] in stage.smi("main-pc", "-L")
    dream = stage.environment("pc2", DREAM)
    assert dream["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "80"
    assert dream["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=9216M"
    mode = "--query-gpu=compute_mode --format=csv,noheader"
    assert stage.smi("main-pc", mode) == "Exclusive_Process"
    assert stage.verify() == ""


def test_a_reboot_brings_the_layout_and_then_the_agents_back(stage: Stage) -> None:
    client = connect()
    assert client is not None
    container = find_container(client, ROOT, NAME, "pc2")
    assert container is not None
    container.restart(timeout=60)
    state = LabState(NAME)
    address = load_site("lab", stage.root).inventory.host("pc2").address
    wait_for_boot("pc2", address, state.key_file, state.known_hosts_file)
    assert stage.run("pc2", f"systemctl is-active groundwork-gpu-ai-system.service {DREAM}") == "active\nactive"
    assert stage.smi("pc2", "--query-gpu=compute_mode --format=csv,noheader") == "Exclusive_Process"
    before = "systemctl show --property=ActiveEnterTimestampMonotonic --value"
    cards, agent = (int(stage.run("pc2", f"{before} {u}")) for u in ("groundwork-gpu-ai-system.service", DREAM))
    assert cards < agent
    assert quiet(stage.plan()) == NOTHING


def test_mig_on_a_card_without_it_is_refused(stage: Stage) -> None:
    stage.share(vision_gpu={"fraction": 0.25, "mode": "mig"})
    (reason,) = (line for line in failures(stage.plan()) if line.startswith("main-pc"))
    assert "RTX 4090" in reason
    assert "has no MIG" in reason
    assert "25 % of the threads and 6141 MiB" in reason
    stage.share(vision_gpu={"fraction": 0.25, "mode": "auto"})


def test_the_same_manifest_gives_mig_instances_on_an_a100(stage: Stage) -> None:
    stage.manifest["machines"]["main_pc"]["gpus"] = [{"model": A100, "count": 2}]
    stage.change_cards("main-pc", A100, A100)
    result = stage.apply()
    assert failures(result) == []
    # A quarter each, on two cards with as much compute as a quarter of the memory may have.
    assert stage.smi("main-pc", "mig -lgi").count("MIG 2g.10gb") == 4
    devices = {stage.environment("main-pc", unit)["CUDA_VISIBLE_DEVICES"] for unit in (VISION, SPEECH)}
    assert len(devices) == 2
    assert all(device.startswith("MIG-") for device in devices)
    assert quiet(stage.apply()) == NOTHING
    assert stage.verify() == ""
    shown = stage.show()
    assert "2g.10gb vision_gpu" in shown
    assert "NOT there" not in shown


def test_a_change_keeps_what_it_can_and_leaves_other_cards_alone(stage: Stage) -> None:
    first, second = (str(card["uuid"]) for card in describe_cards([A100, A100], f"{NAME}/main-pc")["cards"])
    started = "systemctl show --property=ExecMainStartTimestampMonotonic --value"
    stage.changing("main-pc")
    kept = stage.run("main-pc", f"{started} {SPEECH}")
    stage.share(vision_gpu={"mig_profile": "1g.10gb"})
    assert failures(stage.apply()) == []
    changes = stage.changing("main-pc")
    assert changes
    assert all(first in command for command in changes)
    assert not any(second in command for command in changes)
    assert stage.smi("main-pc", "mig -lgi").count("MIG 2g.10gb") == 3
    assert stage.run("main-pc", f"{started} {SPEECH}") == kept
    assert quiet(stage.apply()) == NOTHING
    assert stage.changing("main-pc") == []


def test_strangers_are_in_the_way_until_drained(stage: Stage) -> None:
    device = stage.environment("main-pc", VISION)["CUDA_VISIBLE_DEVICES"]
    stage.run("main-pc", f"sudo systemd-run --unit=training --setenv=CUDA_VISIBLE_DEVICES={device} sleep 3600")
    layout = stage.smi("main-pc", "mig -lgi")
    stage.share(vision_gpu={"fraction": 0.25, "mode": "auto"})
    (reason,) = failures(stage.apply())
    assert "training.service" in reason
    assert "--drain" in reason
    assert stage.smi("main-pc", "mig -lgi") == layout
    assert stage.run("main-pc", f"systemctl is-active {VISION}") == "active"
    assert failures(stage.apply(gpu_drain=True)) == []
    assert stage.smi("main-pc", "mig -lgi").count("MIG 2g.10gb") == 4
    # It was a unit for once, so it could not be started again.
    assert stage.run("main-pc", "systemctl is-active training.service") == "inactive"


def test_a_failure_goes_back_to_the_former_layout(stage: Stage) -> None:
    layout = stage.smi("main-pc", "mig -lgi")
    fault = '[{\\"fault\\": \\"insufficient_resources\\", \\"on\\": \\"cgi\\", \\"times\\": 3}]'
    stage.run("main-pc", f"sudo sh -c \"printf %s '{fault}' > /run/nvidia-double/faults.json\"")
    stage.share(vision_gpu={"mig_profile": "1g.10gb"})
    (reason,) = failures(stage.apply())
    assert "Insufficient Resources" in reason
    assert "former layout again" in reason
    assert stage.smi("main-pc", "mig -lgi") == layout
    assert stage.run("main-pc", f"systemctl is-active {VISION}") == "active"
    assert failures(stage.apply()) == []
    assert quiet(stage.plan()) == NOTHING


def test_what_is_no_longer_declared_goes(stage: Stage) -> None:
    for name in GROUPS[:4]:
        stage.manifest["groups"][name].pop("gpu")
    assert failures(stage.apply()) == []
    mode = "--query-gpu=mig.mode.current --format=csv,noheader"
    assert set(stage.smi("main-pc", mode).split()) == {"Disabled"}
    left = stage.run("main-pc", "ls /etc/systemd/system /usr/local/lib/groundwork /run/groundwork /etc/apt/apt.conf.d")
    for name in ("groundwork-gpu", "groundwork-mps", "gpu_cards", "gpu-ai-system"):
        assert name not in left
    assert "60groundwork-nvidia" not in left
    assert stage.run("main-pc", f"systemctl is-active {VISION}") == "active"
    assert "CUDA_VISIBLE_DEVICES" not in stage.environment("main-pc", VISION)
    assert quiet(stage.plan()) == NOTHING
