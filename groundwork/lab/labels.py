"""How the engine's objects tell which checkout and which lab they belong to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

LAB_LABEL = "groundwork.lab"
ROOT_LABEL = "groundwork.root"
HOST_LABEL = "groundwork.host"


def root_label(root: Path) -> str:
    """Return the value of ``groundwork.root``: the checkout's path, so that two checkouts never mix up."""
    return str(root)


def object_prefix(root: Path, lab: str) -> str:
    """Return the beginning of all names of a lab's containers and network; unique for checkout and lab."""
    return f"gw-{hashlib.sha256(str(root).encode()).hexdigest()[:4]}-{lab}"


def lab_filter(root: Path, lab: str) -> dict[str, Any]:
    """Return the engine's filter for everything of one lab."""
    return {"label": [f"{LAB_LABEL}={lab}", f"{ROOT_LABEL}={root_label(root)}"]}
