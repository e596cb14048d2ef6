"""How far a restore has come, in the environment's state folder; what each host has done it knows itself."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from groundwork.problems import Problem, ProblemError
from groundwork.secrets.keys import write_atomically
from groundwork.site import Site


class RestoreState(BaseModel):
    """One restore."""

    only: list[str] = []
    at: str = ""
    begun: str = ""
    unfinished: bool = False
    stopped: dict[str, list[str]] = {}
    """Units that were running and were stopped for it, by host, in the order in which they were stopped."""
    masters: dict[str, list[str]] = {}
    """Servers of Redis that the sets have data of, by host."""
    archives: list[str] = []
    """Items of PostgreSQL that are restored."""
    replicas: dict[str, list[str]] = {}
    """Servers that were stopped so that none takes a master's place, by host."""


def _path(site: Site) -> Path:
    return site.state_folder / "restore.json"


def read_state(site: Site) -> RestoreState:
    """The last restore; one that never began where there was none. Raises ProblemError when its file is damaged."""
    path = _path(site)
    try:
        return RestoreState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return RestoreState()
    except (OSError, ValidationError):
        raise ProblemError([Problem("what is known of the last restore is damaged", str(path))]) from None


def write_state(site: Site, state: RestoreState) -> None:
    """Write it down in one step."""
    path = _path(site)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, state.model_dump_json(indent=1).encode(), 0o600)
