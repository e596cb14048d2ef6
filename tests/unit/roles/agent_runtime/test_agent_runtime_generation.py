from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from roles.agent_runtime.generation import Generation, build_generation
from roles.agent_runtime.plan import plan_host

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")


def build(case: Any, release: str = "1.0+abc", systemd: int = 257) -> Generation:
    plan = plan_host(case.platform, case.topology, "app")
    return build_generation(case.platform, plan, release, systemd)


def settings(generation: Generation, unit: str) -> list[str]:
    return generation.files[f"units/{unit}"].content.splitlines()


def test_the_same_plan_has_the_same_name(case: Any) -> None:
    assert build(case).name == build(case).name
    assert build(case).name != build(case, release="1.0+abd").name


def revisions(generation: Generation) -> dict[str, str]:
    return {unit: entry["revision"] for unit, entry in generation.document["inputs"].items()}


def test_a_change_moves_the_revision_of_the_units_concerned(case: Any) -> None:
    before = revisions(build(case))
    case.manifest["groups"]["simulation"]["configuration"]["values"]["LLM_RETRIES"] = 5
    after = revisions(build(case))
    assert [unit for unit in before if before[unit] != after[unit]] == ["chorus-simulation@1.service"]
    case.group["resources"]["tasks_max"] = 300
    assert revisions(build(case)) == after
    assert set(revisions(build(case, release="2.0+abc")).values()).isdisjoint(after.values())


def test_stepped_restarts_only_where_systemd_knows_them(case: Any) -> None:
    unit = "chorus-agent-predictor@.service"
    assert "RestartSteps=6" in settings(build(case, systemd=254), unit)
    assert not [line for line in settings(build(case, systemd=252), unit) if "RestartSteps" in line]


def test_targets_slices_and_limits(case: Any) -> None:
    generation = build(case)
    assert "CPUWeight=200" in settings(generation, "groundwork-chorus-prediction.slice")
    assert f"MemoryMax={1024**3}" in settings(generation, "groundwork-chorus-prediction.slice")
    unit = settings(generation, "chorus-agent-predictor@.service")
    assert f"MemoryMax={384 * 1024**2}" in unit
    assert "Slice=groundwork-chorus-prediction.slice" in unit
    assert "WantedBy=multi-user.target" in settings(generation, "chorus.target")
    dropin = settings(generation, "chorus-simulation@1.service.d/50-groundwork.conf")
    assert "After=chorus-agent-predictor@4.service" in dropin


def test_names_with_dashes_do_not_nest_slices(case: Any) -> None:
    case.manifest["platform"] = "ai-system"
    case.manifest["groups"]["pre-diction"] = case.manifest["groups"].pop("prediction")
    case.manifest["trials"]["faults"]["predictor-crash"]["groups"] = ["pre-diction"]
    assert "groundwork-ai_system-pre_diction.slice" in build(case).unit_files


def write_units(generation: Generation, folder: Path) -> None:
    for path, file in generation.files.items():
        if path.startswith("units/"):
            target = folder / path.removeprefix("units/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(file.content)


def exposure(generation: Generation, folder: Path, unit: str, instance: str) -> float:
    """Score of one instance: the template with the instance's drop-in behind it."""
    write_units(generation, folder)
    dropin = (folder / f"{instance}.d/50-groundwork.conf").read_text()
    joined = folder / instance.replace("@", "-")
    joined.write_text((folder / unit).read_text() + "\n" + dropin)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(joined)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", output)
    assert found
    return float(found[1])


PREDICTOR = ("chorus-agent-predictor@.service", "chorus-agent-predictor@1.service")


@needs_systemd
def test_exposure_is_low(case: Any, tmp_path: Path) -> None:
    assert exposure(build(case), tmp_path, *PREDICTOR) <= 1.2


@needs_systemd
def test_exposure_is_low_with_names_outside_and_generated_code(case: Any, tmp_path: Path) -> None:
    case.manifest["services"]["model"] = {"kind": "external", "address": "api.example.org"}
    case.group["needs"].append("model")
    case.group["allow_code_generation"] = True
    generation = build(case)
    unit = settings(generation, PREDICTOR[0])
    assert not [line for line in unit if line.startswith(("IPAddressDeny", "MemoryDenyWriteExecute"))]
    assert exposure(generation, tmp_path, *PREDICTOR) <= 1.2


@needs_systemd
def test_exposure_is_low_with_a_gpu(case: Any, tmp_path: Path) -> None:
    case.manifest["machines"]["app"]["gpus"] = [{"model": "NVIDIA H200", "count": 2}]
    case.group["gpu"] = {"fraction": 0.25}
    generation = build(case)
    allowed = [line for line in settings(generation, PREDICTOR[0]) if line.startswith("DeviceAllow=")]
    assert allowed[:2] == ["DeviceAllow=/dev/nvidia0 rw", "DeviceAllow=/dev/nvidia1 rw"]
    assert exposure(generation, tmp_path, *PREDICTOR) <= 1.5


@needs_systemd
def test_systemd_knows_every_setting(case: Any, tmp_path: Path) -> None:
    case.manifest["runtime"]["launcher"] = None
    case.group["environment"] = {"ODD": "100% \"q\" 'a' $HOME \\"}
    generation = build(case, systemd=252)
    write_units(generation, tmp_path)
    for unit in generation.unit_files:
        if unit.endswith("@.service"):
            path = tmp_path / unit
            path.write_text(path.read_text().replace("/opt/groundwork/chorus/current/bin/python", "/bin/true"))
    environment = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"}
    units = [str(tmp_path / unit) for unit in (PREDICTOR[1], "chorus.target", "groundwork-chorus-prediction.slice")]
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line or "chorus" in line]
