"""Calls of pgBackRest and what they answer."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .settings import Settings

PROGRAM = "pgbackrest"
TIMEOUT = 24 * 3600
"""Seconds: the longest backup or restore that is waited for."""


class CallError(Exception):
    """pgBackRest could not do what was asked, in its own words."""


@dataclass(frozen=True)
class Backup:
    """One backup of the repository."""

    label: str
    kind: str
    """``full``, ``diff`` or ``incr``."""
    started: int
    finished: int
    """Seconds since 1970."""
    first_log: str
    last_log: str
    """Segments of the log between which it becomes consistent."""
    size: int
    """Bytes of the databases."""
    stored: int
    """Bytes that it and those it builds on take in the repository."""
    damaged_pages: bool
    """Whether pages did not have the checksum that PostgreSQL gave them."""

    @property
    def full(self) -> str:
        """Label of the full backup that it builds on, or its own."""
        return self.label.partition("_")[0]


@dataclass(frozen=True)
class Stanza:
    """What the repository has of an archive."""

    backups: tuple[Backup, ...]
    """The oldest first."""
    archive_id: str
    """Name of the part of the archive that belongs to the present cluster (``17-1``)."""
    system: int
    """Identifier of the cluster that is archived; 0 where there is none yet."""
    version: str


def as_account(settings: Settings, command: Sequence[str]) -> list[str]:
    """The command as the archive's system user; who is that user already needs nothing for it."""
    return ["runuser", "-u", settings.account, "--", *command] if os.geteuid() == 0 else list(command)


def call(settings: Settings, verb: str, *options: str, level: str = "warn", told: bool = False) -> str:
    """Run pgBackRest and return its standard output; ``told`` shows its notes in the journal as they come.

    Raises CallError with what it said.
    """
    fixed = [f"--config={settings.configuration}", f"--stanza={settings.stanza}"]
    # Answers go to standard output, so notes must not.
    notes = [f"--log-level-stderr={level}", "--log-level-console=off"]
    command = as_account(settings, [PROGRAM, *fixed, *notes, verb, *options])
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if told else subprocess.PIPE,
        text=True,
        cwd="/",
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        lines = [line for line in (done.stderr or "").splitlines() if line.strip()]
        wrong = [line for line in lines if "ERROR" in line] or lines[-3:]
        said = " ".join(line.partition("ERROR: ")[2] or line for line in wrong)
        raise CallError(f"pgbackrest {verb} ended with {done.returncode}{': ' + said if said else ''}")
    return done.stdout


def read_stanza(settings: Settings) -> Stanza:
    """What the repository has. Raises CallError, also where the stanza is missing or cannot be read."""
    return parse_stanza(json.loads(call(settings, "info", "--output=json")), settings.stanza)


def parse_stanza(answer: Sequence[dict[str, Any]], name: str) -> Stanza:
    """Read the answer of ``info``. Raises CallError."""
    found = next((one for one in answer if one["name"] == name), None)
    # 1: missing path, 2: no valid backups, 3: missing data (pgBackRest, command reference of info).
    if found is None or found["status"]["code"] not in (0, 2):
        said = found["status"]["message"] if found else "the repository has none"
        raise CallError(f"stanza {name}: {said}")
    backups = [
        Backup(
            label=one["label"],
            kind=one["type"],
            started=one["timestamp"]["start"],
            finished=one["timestamp"]["stop"],
            first_log=one["archive"]["start"] or "",
            last_log=one["archive"]["stop"] or "",
            size=one["info"]["size"],
            stored=one["info"]["repository"].get("size") or one["info"]["repository"]["delta"],
            damaged_pages=bool(one.get("error")),
        )
        for one in found["backup"]
    ]
    current = max(found["db"], key=lambda one: one["id"], default=None)
    archive_id = f"{current['version']}-{current['id']}" if current else ""
    return Stanza(
        backups=tuple(sorted(backups, key=lambda one: one.label)),
        archive_id=archive_id,
        system=int(current["system-id"]) if current else 0,
        version=str(current["version"]) if current else "",
    )


def list_archive(settings: Settings, archive_id: str) -> dict[str, int]:
    """Names of everything in one part of the archive, with the time at which it arrived (seconds since 1970)."""
    options = ("--recurse", "--output=json")
    text = call(settings, "repo-ls", f"archive/{settings.stanza}/{archive_id}", *options)
    return {
        name.rpartition("/")[2]: int(entry["time"])
        for name, entry in json.loads(text).items()
        if entry["type"] == "file"
    }
