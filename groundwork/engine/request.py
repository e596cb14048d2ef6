"""What the engine is asked to do: everything the worker process needs, as plain data."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from groundwork.engine.results import Mode


class Timeouts(BaseModel):
    """How long a host may keep the run waiting, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connect: float = Field(default=10.0, gt=0)
    """Whole connection: TCP, key exchange and login together."""
    fact: float = Field(default=120.0, gt=0)
    """One command that only reads, while the operations are prepared."""
    operation: float = Field(default=900.0, gt=0)
    """One command of an operation that sets no ``_timeout`` of its own."""
    silence: float = Field(default=60.0, gt=0)
    """How long an SSH server may leave a keep-alive request unanswered before the host counts as lost."""
    stop: float = Field(default=10.0, ge=0)
    """How long operations that are under way may go on after the user stopped the run."""


class RunRequest(BaseModel):
    """One run of some deploy files on some hosts of one inventory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode
    root: Path
    """Directory the worker runs in: ``config.py``, ``group_data`` and deploy files are found from here."""
    inventory: Path
    deploys: tuple[Path, ...] = Field(min_length=1)
    environment: str = ""
    limit: tuple[str, ...] = ()
    """Names of hosts or groups (shell patterns allowed); empty means every host."""
    data: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """Host data that overrides the inventory's (pyinfra's ``--data``); never a secret."""
    timeouts: Timeouts = Timeouts()
    snapshot: bool = True
    """Whether the facts of earlier runs are asked ahead of time, in one go per host."""
    verbose: bool = False
