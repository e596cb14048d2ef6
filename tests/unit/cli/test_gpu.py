"""``groundwork gpu``: drawings, files of mig-parted, and mistakes, without a host."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from groundwork.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
HOSTS = """\
main_pc = [("main-pc", {"address": "10.0.0.11"})]
pc2 = [("pc2", {"address": "10.0.0.12"})]
redis = [("data", {"address": "10.0.0.13"})]
prometheus = ["data"]
grafana = ["data"]
alertmanager = ["data"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("inventories", "group_data", "platforms"):
        (tmp_path / name).mkdir()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "inventories/trial.py").write_text(HOSTS)
    (tmp_path / "group_data/all.py").write_text('environment = "trial"\nplatform = "ai-system"\n')
    shutil.copy(ROOT / "platforms/ai-system.yaml", tmp_path / "platforms")
    change(tmp_path, lambda manifest: manifest["services"]["redis"].update(nodes_per_host=6))
    monkeypatch.setenv("GROUNDWORK_ROOT", str(tmp_path))
    return tmp_path


def change(project: Path, edit: Any) -> None:
    path = project / "platforms/ai-system.yaml"
    manifest = yaml.safe_load(path.read_text())
    edit(manifest)
    path.write_text(yaml.safe_dump(manifest, sort_keys=False))


def use_a100(manifest: dict[str, Any]) -> None:
    manifest["machines"]["main_pc"]["gpus"] = [{"model": "NVIDIA A100-SXM4-40GB"}]


def test_plan_draws_cards_slots_and_owners(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = project / "cards.svg"
    assert main(["gpu", "plan", "trial", "--svg", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert "main-pc: card 0 (NVIDIA GeForce RTX 4090)  MPS" in shown
    assert "│ vision_gpu 25 %" in shown
    assert "pc2: card 0 (NVIDIA GeForce RTX 3060)  MPS" in shown
    text = "".join(ElementTree.fromstring(picture.read_text()).itertext())
    assert "vision_dream_gpu 80 %" in text
    change(project, use_a100)
    assert main(["gpu", "plan", "trial"]) == 0
    assert "0: 1g.10gb " in capsys.readouterr().out


def test_what_has_no_place_is_listed_with_its_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(project, lambda manifest: manifest["groups"]["vision_gpu"]["gpu"].update(mode="mig"))
    assert main(["gpu", "plan", "trial"]) == 1
    shown = capsys.readouterr()
    assert "pc2: card 0" in shown.out
    assert "groups.vision_gpu.gpu.mode: the NVIDIA GeForce RTX 4090 of host main-pc has no MIG" in shown.err
    assert shown.err.startswith("error: platforms/ai-system.yaml:")


def test_export_can_be_imported(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(project, use_a100)
    assert main(["gpu", "export", "trial", "--limit", "main-pc"]) == 0
    file = project / "config.yaml"
    file.write_text(capsys.readouterr().out)
    assert main(["gpu", "import", "trial", str(file), "--limit", "main-pc"]) == 0
    assert "gpu: {mig_profile: 1g.10gb, card: 0}  # for 4 process(es)" in capsys.readouterr().out
    file.write_text(file.read_text().replace("1g.10gb: 4", "1g.10gb: 4\n      2g.10gb: 0"))
    assert main(["gpu", "import", "trial", str(file), "--limit", "main-pc"]) == 1
    assert "a count is at least 1" in capsys.readouterr().err
    assert main(["gpu", "import", "trial", str(file.with_name("none"))]) == 1
    assert "cannot be read" in capsys.readouterr().err
