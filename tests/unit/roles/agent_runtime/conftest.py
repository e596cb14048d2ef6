"""What the tests of agent_runtime share: chorus on two hosts, and small wheels."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.inventory import Inventory, make_inventory
from groundwork.manifest.platform import Platform
from groundwork.topology import Topology, derive

ROOT = Path(__file__).resolve().parents[4]
HOSTS = {
    "app": (frozenset({"app"}), {"address": "10.0.0.11"}),
    "data": (frozenset({"data"}), {"address": "10.0.0.12"}),
}


class Case:
    """A manifest to change, and the platform and topology that follow from it."""

    def __init__(self) -> None:
        self.manifest: dict[str, Any] = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.inventory: Inventory = make_inventory(HOSTS, "inventories/test.py")

    @property
    def platform(self) -> Platform:
        return Platform.model_validate(self.manifest)

    @property
    def topology(self) -> Topology:
        return derive(self.platform, self.inventory, "test")

    @property
    def group(self) -> dict[str, Any]:
        group: dict[str, Any] = self.manifest["groups"]["prediction"]
        return group


@pytest.fixture
def case() -> Case:
    return Case()


def write_wheel(folder: Path, change: Callable[[dict[str, str]], None] = lambda files: None, name: str = "") -> Path:
    """Write a small wheel; ``change`` may spoil its files after their checksums were taken."""
    info = "tiny_agents-1.2.dist-info"
    files = {
        "tiny_agents.py": "x = 1\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-agents\nVersion: 1.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text)}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    change(files)
    wheel = folder / (name or "tiny_agents-1.2-py3-none-any.whl")
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


@pytest.fixture
def make_wheel() -> Callable[..., Path]:
    """``write_wheel``, for tests that write their own."""
    return write_wheel
