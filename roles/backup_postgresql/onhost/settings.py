"""What the program is told about an archive, by a file that the role writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """One archive as one of its hosts sees it. Times in seconds."""

    platform: str
    service: str
    item: str
    stanza: str
    configuration: str
    """pgBackRest's own settings."""
    account: str
    """The system user that pgBackRest runs as here."""
    state: str
    """Folder of the account's own: locks, and figures before they are published."""
    metrics: str
    """File that the host's exporter shows as well; empty where there is none to write."""
    daily: int
    weekly: int
    monthly: int
    full_every: int
    """Seconds after which a differential backup becomes a full one; 0 where full ones have a schedule of their own."""
    schedule: str = ""
    """When backups are made, in the words of systemd.time(7)."""
    timers: tuple[str, ...] = ()
    """Timers that start the backups, on the host that makes them."""
    unit: str = ""
    """PostgreSQL's unit, on the database's host."""
    pool_unit: str = ""
    port: int = 5432
    sockets: str = "/var/run/postgresql"
    data: str = ""
    """PostgreSQL's data folder, on the database's host."""
    databases: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()
    """Hosts of the replicas, which have to be made anew after a restore."""
    restores: str = ""
    """Folder of root's own with the state of the last restore, on the database's host."""


def read_settings(path: Path) -> Settings:
    """Read the file. Raises OSError, and ValueError for what does not fit."""
    given: dict[str, Any] = json.loads(path.read_text("utf-8"))
    known = {field.name for field in fields(Settings)}
    if set(given) - known:
        raise ValueError(f"{path}: unknown {', '.join(sorted(set(given) - known))}")
    values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in given.items()}
    return Settings(**values)
