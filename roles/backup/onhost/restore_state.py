"""How far a restore has come on this host; kept on the disk, so that it can be taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .metrics import replace
from .settings import JobError, Settings

PHASES = ("fetched", "placing", "placed", "done")
"""``fetched``: the set lies here and is what was saved; ``placing``: the live data are being replaced; ``placed``: they
are; ``done``: they were compared with the set's description. Only ``fetched`` and ``done`` leave no mixed state."""


def state_path(settings: Settings) -> Path:
    """Where it is written down."""
    return Path(settings.state) / settings.item / "restore.json"


def fetched_folder(settings: Settings) -> Path:
    """Where the set that is being restored lies."""
    return Path(settings.state) / settings.item / "restore"


def read_state(settings: Settings) -> dict[str, Any]:
    """What is written down; empty where nothing is being restored. Raises JobError."""
    try:
        state: dict[str, Any] = json.loads(state_path(settings).read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise JobError(f"{state_path(settings)}: {error}") from None
    return state


def write_state(settings: Settings, state: dict[str, Any]) -> None:
    """Write it down in one step."""
    replace(state_path(settings), json.dumps(state), 0o600)


def read_unfinished(settings: Settings) -> str:
    """The set that live data are being replaced by; empty where they are whole."""
    state = read_state(settings)
    return str(state["set"]) if state.get("phase") in ("placing", "placed") else ""
