"""Which fact commands a host was asked in earlier runs of a deploy: the commands, never what they gave.

A file for each project, deploy and host in the user's cache folder, readable and writable by the user alone, since the
next run executes what it says. A file or folder that anybody else could have written is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from groundwork.connector.context import Identity, Request

MOST_MISSED = 5
"""Runs after which a command that was not asked again is forgotten."""
MOST_COMMANDS = 5000
"""Commands kept for one host: more would be a deploy that never asks the same twice."""
LONGEST_COMMAND = 20_000


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    identity: tuple[tuple[str, str | bool], ...]
    shell: str
    text: str
    missed: int = 0


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: int = 1
    host: str
    deploy: str
    commands: tuple[_Entry, ...]


Key = tuple[Identity, str, str]


def default_folder() -> Path:
    """``groundwork/facts`` in the user's cache folder (XDG_CACHE_HOME, else ``~/.cache``)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "groundwork" / "facts"


class Memory:
    """The remembered fact commands of one host under one deploy. Creating it reads the file, if there is one."""

    def __init__(self, project: str, deploy: str, host: str, folder: Path | None = None) -> None:
        self._deploy, self._host = deploy, host
        self._folder = folder or default_folder()
        digest = hashlib.sha256("\0".join((project, deploy, host)).encode()).hexdigest()
        self.path = self._folder / f"{digest[:32]}.json"
        self._missed: dict[Key, int] = self._read()
        # In the order in which they were asked.
        self._asked: dict[Key, None] = {}

    def commands(self, identity: Identity) -> list[tuple[str, str]]:
        """Shell and text of each remembered command that runs as ``identity``."""
        return [(shell, text) for whom, shell, text in self._missed if whom == identity]

    def note(self, request: Request) -> None:
        """A fact's command was asked; one with hidden values or an environment is not written down."""
        if request.is_plain and len(request.text) <= LONGEST_COMMAND:
            self._asked[request.identity, request.shell, request.text] = None

    @property
    def is_changed(self) -> bool:
        """Whether what was asked differs from what is known."""
        return self._asked.keys() != self._missed.keys() or any(self._missed.values())

    def save(self, hidden: Iterable[str] = ()) -> None:
        """Write down what was asked, if that differs from what is known; where that fails, the next run is slower.

        Args:
            hidden: values that no command in the file may contain.
        """
        values = [value for value in hidden if value]
        kept = {key: 0 for key in self._asked if not any(value in key[2] for value in values)}
        for key, missed in self._missed.items():
            if key not in self._asked and missed + 1 < MOST_MISSED:
                kept[key] = missed + 1
        entries = [_Entry(identity=key[0], shell=key[1], text=key[2], missed=missed) for key, missed in kept.items()]
        document = _File(host=self._host, deploy=self._deploy, commands=tuple(entries[:MOST_COMMANDS]))
        try:
            self._write(document.model_dump_json(indent=1).encode())
        except OSError:
            return

    def _read(self) -> dict[Key, int]:
        try:
            if not _is_private(self._folder.lstat(), stat.S_ISDIR):
                return {}
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not _is_private(os.fstat(file.fileno()), stat.S_ISREG):
                    return {}
                document = _File.model_validate(_tuples(json.loads(file.read())))
        except (OSError, ValueError, ValidationError):
            return {}
        if (document.version, document.host, document.deploy) != (1, self._host, self._deploy):
            return {}
        return {(entry.identity, entry.shell, entry.text): entry.missed for entry in document.commands}

    def _write(self, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(self._folder.lstat(), stat.S_ISDIR):
            return
        # mkstemp makes it readable by its owner alone.
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _is_private(found: os.stat_result, is_kind: Callable[[int], bool]) -> bool:
    """Whether it is of that kind, ours, and for nobody else to write."""
    others = stat.S_IMODE(found.st_mode) & 0o022
    return is_kind(found.st_mode) and found.st_uid == os.geteuid() and not others


def _tuples(document: object) -> object:
    """JSON's lists as the tuples that the strict model wants."""
    if isinstance(document, list):
        return tuple(_tuples(one) for one in document)
    if isinstance(document, dict):
        return {key: _tuples(value) for key, value in document.items()}
    return document
