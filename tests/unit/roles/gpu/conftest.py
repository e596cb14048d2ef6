"""What the tests of the role gpu share: the doubles on a folder of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests/doubles"))

from nvidia_double.machine import Machine, User  # noqa: E402

from groundwork.lab.cards import describe_cards  # noqa: E402

MakeMachine = Callable[..., Machine]


def make_machine(folder: Path, *models: str, users: list[User] | None = None) -> Machine:
    """A machine with these cards whose state lies in ``folder``."""
    (folder / "etc/nvidia-double").mkdir(parents=True, exist_ok=True)
    description = json.dumps(describe_cards(models, "test"))
    (folder / "etc/nvidia-double/cards.json").write_text(description)
    return Machine(folder, lambda: users or [])


@pytest.fixture
def machine(tmp_path: Path) -> MakeMachine:
    return lambda *models, users=None: make_machine(tmp_path, *models, users=users)
