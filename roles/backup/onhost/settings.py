"""What the controller lays down for a host: its jobs, and the repositories that it keeps."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class JobError(Exception):
    """Why a job cannot go on, in one line."""


@dataclass(frozen=True)
class Place:
    """A repository as one item's job, or its keeper, reaches it."""

    name: str
    location: str
    """What restic is told; without the login."""
    encryption_file: str
    """File with the password that encrypts it."""
    login_file: str = ""
    """File with the password of ``user`` at its server; empty where it is a folder."""
    user: str = ""


@dataclass(frozen=True)
class Settings:
    """One item on one host, or (``places`` are then folders) one item that this host keeps for others."""

    environment: str
    platform: str
    item: str
    kind: str
    host: str
    service: str
    uri: str
    """URI name that the certificate of whoever signs a set has."""
    hosts: tuple[str, ...]
    """Hosts that have jobs of this item."""
    schedule: str
    retention: dict[str, int]
    places: tuple[Place, ...]
    paths: tuple[str, ...]
    servers: tuple[dict[str, Any], ...]
    """The servers of the service on this host; what of them is known depends on the kind."""
    certificate: str
    key: str
    authority: str
    version: str
    """Version of Groundwork."""
    state: str
    """Folder of the program's own files."""
    account: str = ""
    """Account that restic runs as where it reaches folders of another's; empty for the caller's own."""

    @property
    def staging(self) -> Path:
        """Where data are put together before they are backed up; the same each time, so that restic recognises it."""
        return Path(self.state) / self.item / "staging"


def read_settings(path: str | Path) -> Settings:
    """Read one file of settings. Raises JobError when it is not there or not of this form."""
    try:
        data: dict[str, Any] = json.loads(Path(path).read_text("utf-8"))
        places = tuple(Place(**one) for one in data.pop("places"))
        listed: dict[str, Any] = {name: tuple(data.pop(name)) for name in ("hosts", "paths", "servers")}
        return Settings(places=places, **listed, **data)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise JobError(f"{path}: {error}") from None


def read_secret(path: str) -> str:
    """A password from its file, or from the credential of that name that systemd gave. Raises JobError."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    if given and (Path(given) / Path(path).name).exists():
        path = str(Path(given) / Path(path).name)
    try:
        return Path(path).read_text("utf-8").rstrip("\n")
    except OSError as error:
        raise JobError(f"{path}: {error.strerror}") from None
