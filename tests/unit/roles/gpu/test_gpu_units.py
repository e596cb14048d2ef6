"""The role's units, the environment that agents are given, and what the facts make of a host's answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from nvidia_double.smi import run

from groundwork.inventory import make_inventory
from groundwork.manifest.platform import Platform
from groundwork.operations.rendering import render_template
from groundwork.topology import Topology, derive
from groundwork.topology.roles import roles_on
from groundwork.topology.sharing import process_user, sharing_of
from roles.agent_runtime.generation import build_generation
from roles.agent_runtime.plan import plan_host as plan_agents
from roles.gpu import layout, preflight
from roles.gpu.cards import declared_cards
from roles.gpu.facts import HostDriver, Lags
from roles.gpu.onhost import listing
from roles.gpu.onhost.metrics import render_metrics
from roles.gpu.onhost.settings import read_settings
from roles.gpu.onhost.smi import Smi
from roles.gpu.plan import HostPlan, plan_host

ROOT = Path(__file__).resolve().parents[4]
HOSTS = {
    "main-pc": (frozenset({"main_pc"}), {"address": "10.0.0.11"}),
    "pc2": (frozenset({"pc2"}), {"address": "10.0.0.12"}),
    "data": (frozenset({"redis", "prometheus", "grafana", "alertmanager"}), {"address": "10.0.0.13"}),
}
DATA = {
    "platform": "ai-system",
    "package": "gpu_cards_ai_system",
    "library": "/usr/local/lib/groundwork",
    "settings": "/etc/groundwork/ai-system/gpu.json",
    "user": "daemon",
    "run_folder": "/run/groundwork/gpu-ai-system",
    "folder": "/var/lib/groundwork/metrics",
}


class System:
    """ai-system on three hosts, its manifest to be changed."""

    def __init__(self) -> None:
        self.manifest: dict[str, Any] = yaml.safe_load((ROOT / "platforms/ai-system.yaml").read_text())
        self.manifest["services"]["redis"]["nodes_per_host"] = 6
        self.inventory = make_inventory(HOSTS, "inventories/test.py")

    @property
    def platform(self) -> Platform:
        return Platform.model_validate(self.manifest)

    @property
    def topology(self) -> Topology:
        return derive(self.platform, self.inventory, "test")

    def plan(self, host: str = "main-pc") -> HostPlan:
        cards = declared_cards(self.platform, self.inventory.host(host).groups)
        return plan_host(self.platform, self.topology, host, cards)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
@pytest.mark.parametrize("name", ["cards.service", "mps@.service", "metrics.service", "metrics.timer"])
def test_units_are_accepted(tmp_path: Path, name: str) -> None:
    text = render_template(f"gpu/{name}.j2", **DATA)
    # Programs of NVIDIA's are not here.
    path = tmp_path / f"groundwork-{name}"
    path.write_text(text.replace("/usr/bin/nvidia-cuda-mps-control", "/bin/true"))
    (tmp_path / "groundwork-metrics.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_groups_that_share_by_mps_have_one_account() -> None:
    system = System()
    gpu = [name for name, group in system.platform.groups.items() if group.gpu and group.hosts == "main_pc"]
    assert {sharing_of(system.platform, name) for name in gpu} == {"mps"}
    assert {process_user(system.platform, name).name for name in gpu} == {"ai-system-gpu-mps"}
    assert sharing_of(system.platform, "coordination") is None
    owners = {i.owner.name for i in system.topology.identities if i.account in gpu}
    assert owners == {"ai-system-gpu-mps"}
    system.manifest["machines"]["main_pc"]["gpus"] = [{"model": "NVIDIA H200"}]
    assert {sharing_of(system.platform, name) for name in gpu} == {"mig"}
    assert process_user(system.platform, "vision_gpu").name == "ai-system-vision_gpu"
    assert "gpu" in roles_on(system.topology, "main-pc")
    assert "gpu" not in roles_on(system.topology, "data")


def test_agents_with_a_share_start_after_the_cards_with_their_environment() -> None:
    system = System()
    agents = plan_agents(system.platform, system.topology, "main-pc")
    generation = build_generation(system.platform, agents, "1+x", 257)
    files = generation.files
    text = files["units/ai-system-vision_gpu@1.service.d/50-groundwork.conf"].content
    environment = "/run/groundwork/gpu-ai-system/ai-system-vision_gpu@1.env"
    assert f"EnvironmentFile={environment}\n" in text
    assert "After=groundwork-gpu-ai-system.service\n" in text
    unit = files["units/ai-system-vision_gpu@.service"].content
    assert "User=ai-system-gpu-mps\n" in unit
    assert "StateDirectory=ai-system-vision_gpu\n" in unit
    assert "ReadWritePaths=-/run/groundwork-mps-ai-system\n" in unit
    assert environment in generation.document["inputs"]["ai-system-vision_gpu@1.service"]["files"]
    other = files["units/ai-system-error-bus@1.service.d/50-groundwork.conf"].content
    assert "gpu" not in other


def test_settings_say_what_the_plan_says() -> None:
    system = System()
    document = layout.make_document("ai-system", system.plan(), {})
    settings = read_settings(json.loads(json.dumps(document)))
    assert len(settings.consumers) == 4
    assert [(d.thread_percentage, d.memory_mib) for d in settings.daemons] == [(25, 6141)]
    assert [card.compute_mode for card in settings.cards.values()] == ["Exclusive_Process"]
    system.manifest["machines"]["main_pc"]["gpus"] = [{"model": "NVIDIA A100-SXM4-40GB"}]
    settings = read_settings(json.loads(json.dumps(layout.make_document("ai-system", system.plan(), {}))))
    assert settings.daemons == ()
    assert {len(card.instances) for card in settings.cards.values()} == {4}


def test_the_facts_read_a_hosts_cards(machine: Any) -> None:
    host = machine("NVIDIA GeForce RTX 4090", "NVIDIA H200")

    def smi(*arguments: str) -> list[str]:
        return run(host, arguments)[1].splitlines()

    output = ["== cards", *smi(*listing.QUERY), "== profiles", *smi("mig", "-lgip"), "== placements"]
    output += [
        *smi("mig", "-lgipp"),
        "== module",
        "580.173.02",
        "== mps",
        "/usr/bin/nvidia-cuda-mps-control",
        "== proven",
    ]
    driver = HostDriver().process(output)
    assert driver.present
    assert driver.has_mps
    assert driver.error == ""
    cards = layout.live_cards(driver.cards, driver.profiles)
    assert [(card.name, card.mig) for card in cards] == [("NVIDIA GeForce RTX 4090", False), ("NVIDIA H200", True)]
    # What the host prints and what the table says are the same profiles.
    declared = declared_cards(
        Platform.model_validate({**System().manifest, "machines": {"main_pc": {"gpus": [{"model": "NVIDIA H200"}]}}}),
        frozenset({"main_pc"}),
    )
    assert set(cards[1].profiles) == set(declared[0].profiles)
    assert list(preflight.check_driver(driver, "main-pc")) == []


def test_drivers_that_do_not_work_are_refused(machine: Any) -> None:
    def problems(*output: str) -> list[str]:
        return [str(problem) for problem in preflight.check_driver(HostDriver().process(list(output)), "h")]

    assert "there is no nvidia-smi" in problems("")[0]
    host = machine("NVIDIA H200")
    host.switches.parent.mkdir(parents=True)
    host.switches.write_text(json.dumps([{"fault": "driver_mismatch", "on": "driver", "times": None}]))
    text = run(host, listing.QUERY)[1]
    assert "of different versions" in problems("== cards", *text.splitlines())[0]
    host.switches.unlink()
    rows = run(host, listing.QUERY)[1]
    assert "module 575.1, library 580.173.02" in problems("== cards", rows, "== module", "575.1")[0]
    assert problems("== cards", "No devices were found") == ["host h: nvidia-smi does not work: No devices were found"]


def test_declared_cards_have_to_be_there(machine: Any) -> None:
    live = layout.live_cards(listing.parse_cards(run(machine("NVIDIA GeForce RTX 3060"), listing.QUERY)[1]), ())
    declared = System().plan().cards
    cards, problems = layout.match_cards(declared, live, "main-pc")
    assert cards == ()
    assert "lacks a card that its machines declare" in str(problems[0])
    assert layout.match_cards((), live, "main-pc") == (live, [])


def test_what_lags_is_none_without_the_program() -> None:
    assert Lags().process([]) is None
    assert Lags().process(["[]"]) == []
    assert Lags().process(['["a card differs"]']) == ["a card differs"]


def test_metrics_leave_out_what_is_not_known(machine: Any) -> None:
    host = machine("NVIDIA H200", "NVIDIA GeForce RTX 4090")
    run(host, ["-i", "0", "-mig", "1"])
    text = render_metrics(Smi(lambda arguments: run(host, arguments)))
    assert "groundwork_gpu_up 1" in text
    assert text.count("groundwork_gpu_utilization_ratio{") == 1
    assert "groundwork_gpu_memory_total_bytes{" in text
    host.switches.write_text(json.dumps([{"fault": "driver_mismatch", "on": "driver", "times": None}]))
    text = render_metrics(Smi(lambda arguments: run(host, arguments)))
    assert "groundwork_gpu_up 0" in text
    assert "gpu_memory_total_bytes{" not in text
