"""One restic repository: commands, their answers, and what went wrong in one line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .settings import JobError, Place, Settings, read_secret

PROGRAM = "/usr/bin/restic"
TAG = "groundwork"
DESCRIPTION = "/set.json"
PATIENCE = 900.0
"""Seconds to wait for another's lock: thinning a large repository out takes minutes."""
PAUSE = 3.0
INCOMPLETE = "could not be read"


class LockedError(JobError):
    """Somebody else works on the repository."""


@dataclass(frozen=True)
class Snapshot:
    """What restic knows of one snapshot."""

    identifier: str
    time: str
    host: str
    tags: frozenset[str]

    def tag(self, name: str) -> str:
        """The value of a tag ``name=value``; empty where it has none."""
        return next((one.partition("=")[2] for one in sorted(self.tags) if one.startswith(f"{name}=")), "")


class Repository:
    """One item's repository at one place."""

    def __init__(self, settings: Settings, place: Place, runtime: Path) -> None:
        self.settings, self.place = settings, place
        self._runtime = runtime
        self._password = read_secret(place.encryption_file)
        self._login = read_secret(place.login_file) if place.login_file else ""

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        cache = os.environ.get("CACHE_DIRECTORY", "/var/cache/groundwork-backup")
        # One thread: more would take their cores from the services.
        return kept | {"RESTIC_CACHE_DIR": cache, "GOMAXPROCS": "1", "RESTIC_PROGRESS_FPS": "0.01"}

    def _location(self) -> str:
        if not self._login:
            return self.place.location
        quoted = f"{self.place.user}:{urllib.parse.quote(self._login, safe='')}@"
        return self.place.location.replace("https://", f"https://{quoted}", 1)

    def _options(self) -> list[str]:
        if not self._login:
            return ["--no-cache"]
        return ["--cacert", self.settings.authority, "--tls-client-cert", str(self._client_file())]

    def _client_file(self) -> Path:
        """restic wants certificate and key in one file."""
        path = self._runtime / "client.pem"
        if not path.exists():
            content = Path(self.settings.key).read_bytes() + Path(self.settings.certificate).read_bytes()
            path.touch(0o600)
            path.write_bytes(content)
        return path

    def hide(self, text: str) -> str:
        """A text without this repository's passwords."""
        for secret in (self._password, self._login, urllib.parse.quote(self._login, safe="")):
            text = text.replace(secret, "***") if secret else text
        return text

    def start(
        self, *words: str, content: int | IO[bytes] | None = subprocess.DEVNULL, cwd: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Start one command; the caller reads its output."""
        account = self.settings.account if os.getuid() == 0 and self.settings.account else None
        with _in_memory(self._location()) as location, _in_memory(self._password) as password:
            command = [PROGRAM, f"--repository-file=/proc/self/fd/{location}"]
            command += [f"--password-file=/proc/self/fd/{password}", *self._options(), *words]
            return subprocess.Popen(
                command, env=self._environment(), stdin=content, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=cwd or "/", user=account, group=account, extra_groups=[] if account else None, umask=0o077,
                pass_fds=(location, password),
            )  # fmt: skip

    def run(self, *words: str, content: bytes | None = None, allowed: Sequence[int] = (0,)) -> bytes:
        """Run one command to its end and return its output. Raises JobError with what it said last."""
        end = time.monotonic() + PATIENCE
        while True:
            process = self.start(*words, content=subprocess.PIPE if content is not None else subprocess.DEVNULL)
            output, errors = process.communicate(content)
            if process.returncode in allowed:
                return output
            told = self.hide((output + b"\n" + errors).decode("utf-8", "replace"))
            if "already locked" not in told:
                raise JobError(f"restic {words[0]}: {last_line(told)}")
            if time.monotonic() > end:
                raise LockedError(f"restic {words[0]}: the repository is locked: {last_line(told)}")
            time.sleep(PAUSE)

    def reach(self) -> None:
        """Raise JobError at once where the repository's server does not answer; restic would try for long."""
        if not self._login:
            folder = Path(self.place.location)
            if not folder.is_dir() and not folder.parent.is_dir():
                raise JobError(f"{folder.parent}: there is no such folder; is the share mounted?")
            return
        place = urllib.parse.urlsplit(self.place.location.removeprefix("rest:"))
        try:
            socket.create_connection((place.hostname or "", place.port or 443), 10).close()
        except OSError as error:
            raise JobError(f"{place.hostname}:{place.port} does not answer: {error.strerror or error}") from None

    def prepare(self) -> None:
        """Make the repository where there is none, and remove locks whose process is gone."""
        try:
            self.run("cat", "config")
        except JobError as error:
            told = str(error)
            if not any(word in told for word in ("Is there a repository", "does not exist", "no such file", "404")):
                raise
            self.run("init")
        self.run("unlock")

    def list_snapshots(self) -> list[Snapshot]:
        """Every snapshot of ours, oldest first."""
        found = json.loads(self.run("snapshots", "--json", "--no-lock", "--tag", TAG) or b"[]") or []
        listed = [Snapshot(one["id"], one["time"], one["hostname"], frozenset(one.get("tags") or ())) for one in found]
        return sorted(listed, key=lambda one: one.tag("set"))

    def back_up(self, paths: Sequence[str], excludes: Sequence[str], tags: Sequence[str]) -> dict[str, Any]:
        """Back paths up and return restic's summary. Raises JobError, also when a file could not be read."""
        words = ["backup", "--json", "--quiet", "--host", self.settings.host, *self._tags(tags)]
        words += [f"--exclude={one}" for one in excludes]
        try:
            output = self.run(*words, "--", *paths)
        except JobError as error:
            if INCOMPLETE not in str(error):
                raise
            # A file went while it was read, or data of the set before are damaged and were saved anew: restic counts
            # both as errors. What is wrong for good is wrong the second time.
            output = self.run(*words, "--", *paths)
        for line in reversed(output.decode("utf-8", "replace").splitlines()):
            if '"summary"' in line:
                summary: dict[str, Any] = json.loads(line)
                return summary
        raise JobError("restic backup: said nothing of what it saved")

    def store(self, text: str, tags: Sequence[str]) -> None:
        """Store one small text as a snapshot of its own."""
        words = ["backup", "--quiet", "--host", self.settings.host, *self._tags(tags), "--stdin"]
        self.run(*words, "--stdin-filename", DESCRIPTION, content=text.encode())

    def _tags(self, tags: Sequence[str]) -> list[str]:
        return [word for tag in (TAG, *tags) for word in ("--tag", tag)]

    def full_identifier(self, short: str) -> str:
        """The whole identifier of a snapshot that restic names in short."""
        found = [one.identifier for one in self.list_snapshots() if one.identifier.startswith(short)]
        if len(found) != 1:
            raise JobError(f"snapshot {short} is not in the repository")
        return found[0]

    def list_nodes(self, snapshot: str) -> Iterator[dict[str, Any]]:
        """What a snapshot holds: type, path, size and time of each."""
        for line in self.run("ls", "--json", "--no-lock", snapshot).decode("utf-8", "replace").splitlines():
            node = json.loads(line)
            if node.get("struct_type") == "node":
                yield node

    def read(self, snapshot: str, path: str) -> bytes:
        """The content of one small file."""
        return self.run("dump", "--no-lock", snapshot, path)

    @contextmanager
    def reading(self, snapshot: str, path: str) -> Iterator[IO[bytes]]:
        """The content of one file, or of a folder as a tar, piece by piece. Raises JobError when it cannot be read."""
        process = self.start("dump", "--no-lock", snapshot, path)
        assert process.stdout is not None and process.stderr is not None
        try:
            yield process.stdout
            # What is left unread would keep it from ending.
            while process.stdout.read(1 << 20):
                pass
            told = process.stderr.read().decode("utf-8", "replace")
            if process.wait() != 0:
                raise JobError(f"restic dump: {last_line(self.hide(told))}")
        finally:
            process.kill()
            process.wait()


@contextmanager
def _in_memory(text: str) -> Iterator[int]:
    """A file in memory for a child: what is in it shows neither in its arguments nor in its environment."""
    handle = os.memfd_create("groundwork-backup")
    try:
        os.write(handle, text.encode())
        # restic may run as another account, which opens it anew.
        os.fchmod(handle, 0o444)
        yield handle
    finally:
        os.close(handle)


def last_line(text: str) -> str:
    """What of an output tells most: the first line about an error and the last that it was fatal, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("Fatal")]
    details = [line for line in lines if line.lower().startswith(("error", "pack "))]
    return "; ".join([*details[:1], *fatal[-1:]] or lines[-1:] or ["no reason given"])[:400]
