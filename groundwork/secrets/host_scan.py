"""Looks for secrets where they must not be, on the machine it runs on; needs Python and grep alone.

It is sent to a host as the text of ``python3 -c`` and gets the patterns over standard input, so that they are
in no argument list and no file there. It prints which pattern was found where, never a value.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

# Directories whose files must hold no secret that every user of the host can read.
ROOTS = ("/etc", "/var", "/opt", "/tmp", "/run", "/home", "/srv", "/usr/local", "/root")
# Below these a secret is a leak whoever can read it: logs, and files somebody left behind.
ANY_MODE = ("/tmp", "/var/tmp", "/var/log")
# journalctl reads these, and what it says is searched.
JOURNALS = ("/var/log/journal", "/run/log/journal")
HISTORIES = (".bash_history", ".zsh_history", ".python_history", ".psql_history", ".rediscli_history")
CANDIDATES = ".groundwork-candidate"
# In bytes; a larger file is named as skipped rather than read.
LARGEST = 256 * 1024 * 1024
BATCH = 500


class Search:
    """Runs grep over files and streams for many byte patterns at once, and counts what it has looked at."""

    def __init__(self, patterns: dict[str, str]) -> None:
        """``patterns`` is pattern to label; a label says which secret in which form."""
        self.labels = {pattern.encode(): label for pattern, label in patterns.items()}
        self.found: set[tuple[str, str]] = set()
        self.examined: dict[str, int] = {}
        self.skipped: list[str] = []
        # A file in memory: the patterns are in no directory, and each grep opens it afresh.
        self.memory = os.memfd_create("patterns")
        os.write(self.memory, b"\n".join(self.labels))

    def _grep(self, *arguments: str, data: bytes | None = None) -> bytes:
        listing = f"/proc/{os.getpid()}/fd/{self.memory}"
        command = ["grep", "-F", "-a", "-o", "-f", listing, *arguments]
        return subprocess.run(
            command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        ).stdout

    def look_at_text(self, kind: str, where: str, data: bytes) -> None:
        """Search bytes that are in memory already."""
        self.examined[kind] = self.examined.get(kind, 0) + 1
        for match in self._grep("-h", data=data).splitlines():
            self.found.add((where, self.labels.get(match, "unknown")))

    def look_at_files(self, kind: str, paths: Iterable[str]) -> None:
        """Search files, without following links; those that vanish meanwhile do not matter."""
        batch: list[str] = []
        for path in paths:
            batch.append(path)
            if len(batch) == BATCH:
                self._look_at_batch(kind, batch)
                batch = []
        if batch:
            self._look_at_batch(kind, batch)

    def _look_at_batch(self, kind: str, batch: list[str]) -> None:
        self.examined[kind] = self.examined.get(kind, 0) + len(batch)
        for line in self._grep("-H", "-Z", "--", *batch).splitlines():
            name, _, match = line.partition(b"\0")
            self.found.add((os.fsdecode(name), self.labels.get(match, "unknown")))
        for path in batch:
            if path.endswith(".gz"):
                with contextlib.suppress(OSError, EOFError), gzip.open(path) as file:
                    self.look_at_text(kind, path, file.read(LARGEST))


def list_files(search: Search, root: str, any_mode: bool) -> Iterator[str]:
    """Files below a directory that others can read (or all of them), as seen through the modes of every
    directory on the way. Leftovers and shell histories count whatever their mode."""
    pending = [(root, True)]
    while pending:
        folder, passable = pending.pop()
        if folder in JOURNALS:
            continue
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                left = CANDIDATES in entry.path
                pending.append((entry.path, left or (passable and bool(status.st_mode & stat.S_IXOTH))))
            elif stat.S_ISREG(status.st_mode) and status.st_size:
                readable = passable and bool(status.st_mode & stat.S_IROTH)
                if readable or any_mode or CANDIDATES in entry.path or entry.name in HISTORIES:
                    if status.st_size > LARGEST:
                        search.skipped.append(entry.path)
                    else:
                        yield entry.path


def look_at_processes(search: Search) -> None:
    """Search the arguments and the environment of every process."""
    processes = sorted(Path("/proc").glob("[0-9]*"))
    for part in ("cmdline", "environ"):
        search.look_at_files(part, [str(process / part) for process in processes])


def look_at_journal(search: Search) -> None:
    """Search every field of the journal, which has sudo's commands and the arguments of who logged."""
    with contextlib.suppress(OSError):
        command = ["journalctl", "--no-pager", "--quiet", "-a", "-o", "export"]
        told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
        search.look_at_text("journal", "journal", told)


def main() -> None:
    """Read ``{"patterns": {pattern: label}}`` from standard input and print what was found, as JSON."""
    task = json.load(sys.stdin)
    search = Search(task["patterns"])
    look_at_processes(search)
    look_at_journal(search)
    for root in task.get("roots", ROOTS):
        search.look_at_files("files", list_files(search, root, any_mode=False))
    for root in task.get("any_mode", ANY_MODE):
        search.look_at_files("files", list_files(search, root, any_mode=True))
    result = {"found": sorted(search.found), "examined": search.examined, "skipped": search.skipped}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
