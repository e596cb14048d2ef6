#!/usr/bin/env python3
"""Keeps journals that were sent to this host within their bounds of time and size; says when each was last heard of.

    keep-journals --store FOLDER --seconds N --bytes N [--unit PLATFORM-journal-store@.service] [--metrics FILE]

systemd-journal-remote removes nothing (up to 252) or at bounds of its own, and goes on with a host's file until that is
full. Here a file whose first line is old enough is set aside, and its host's instance of the unit restarted, so that a
new one is begun; files set aside go when their last line is too old. Over the bound of size, the oldest of the host
that has most goes first: one that floods the store pushes itself out, not the others.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# Journal file format: the beginning of every file (systemd.io, "Journal File Format", header).
HEADER = struct.Struct("<8s2IB7x16s16s16s16s14Q")
MAGIC = b"LPKSHHRH"
NAME = re.compile(r"(?P<source>[A-Za-z0-9_.-]+?)(?P<aside>@[0-9a-f-]+)?\.journal(?P<damaged>~)?")
LARGEST_AGE, SMALLEST_AGE = 86_400.0, 3_600.0
"""A file is set aside when its first line is a tenth of the retention old, within these bounds (seconds)."""
KEEP_FREE, KEEP_FREE_AT_MOST = 0.2, 5 * 1024**3
"""Share of the disk that stays free, and bytes that are enough: below 15 % and 4 GiB the server takes no more."""


@dataclass(frozen=True)
class Journal:
    """One file: whose it is, whether it is set aside, what it takes, and when its first and last lines are from."""

    path: Path
    source: str
    aside: bool
    size: int
    first: float
    last: float
    sequence: str
    """How systemd names it once it is set aside: identifier, first number and first time."""


def read_journal(path: Path) -> Journal | None:
    """Return what a file is; None for what is no journal of the store."""
    match = NAME.fullmatch(path.name)
    try:
        status = path.stat()
        with path.open("rb") as file:
            start = file.read(HEADER.size)
    except OSError:
        return None
    if match is None:
        return None
    first = last = status.st_mtime
    sequence = ""
    if len(start) == HEADER.size and start.startswith(MAGIC):
        fields = HEADER.unpack(start)
        identifier, entries, head, first_time, last_time = fields[7], fields[16], fields[18], fields[20], fields[21]
        if entries:
            first, last = first_time / 1e6, last_time / 1e6
            sequence = f"{identifier.hex()}-{head:016x}-{first_time:016x}"
    aside = bool(match["aside"] or match["damaged"])
    return Journal(path, match["source"], aside, status.st_blocks * 512, first, last, sequence)


def list_journals(store: Path) -> list[Journal]:
    """Return every journal of the store."""
    found = (read_journal(path) for path in sorted(store.iterdir()))
    return [one for one in found if one is not None]


def remove_old(journals: list[Journal], seconds: float, now: float) -> list[Journal]:
    """Remove what was set aside and whose last line is too old; return what is left."""
    left = []
    for one in journals:
        # A host whose clock is ahead does not keep its lines longer.
        last = min(one.last, one.path.stat().st_mtime) if one.last > now else one.last
        if one.aside and now - last > seconds:
            one.path.unlink(missing_ok=True)
        else:
            left.append(one)
    return left


def count_surplus(journals: list[Journal], limit: int, store: Path) -> int:
    """Bytes that have to go: those above the limit (0: none), or those that the disk has too few free of."""
    disk = os.statvfs(store)
    keep = min(KEEP_FREE * disk.f_blocks * disk.f_frsize, KEEP_FREE_AT_MOST)
    missing = int(keep - disk.f_bavail * disk.f_frsize)
    over = sum(one.size for one in journals) - limit if limit else 0
    return max(over, missing, 0)


def remove_surplus(journals: list[Journal], surplus: int) -> tuple[list[Journal], bool]:
    """Remove the oldest of who has most until enough is gone; return what is left, and whether that was enough."""
    left = list(journals)
    while surplus > 0:
        totals: dict[str, int] = {}
        for one in left:
            totals[one.source] = totals.get(one.source, 0) + one.size
        aside = [one for one in left if one.aside]
        if not aside:
            return left, False
        most = max({one.source for one in aside}, key=lambda source: totals[source])
        oldest = min((one for one in aside if one.source == most), key=lambda one: one.first)
        oldest.path.unlink(missing_ok=True)
        left.remove(oldest)
        surplus -= oldest.size
    return left, True


def set_aside(journals: list[Journal]) -> list[str]:
    """Rename files in use as systemd names full ones; return whose they are: what writes them must be restarted."""
    done = []
    for one in journals:
        if not one.aside and one.sequence:
            one.path.rename(one.path.with_name(f"{one.source}@{one.sequence}.journal"))
            done.append(one.source)
    return done


def write_metrics(journals: list[Journal], path: Path) -> None:
    """Write when each host was last heard of, and what its journals take."""
    last: dict[str, float] = {}
    size: dict[str, int] = {}
    for one in journals:
        last[one.source] = max(last.get(one.source, 0.0), one.last)
        size[one.source] = size.get(one.source, 0) + one.size
    lines = ["# TYPE groundwork_journal_last_entry_timestamp_seconds gauge"]
    lines += [f'groundwork_journal_last_entry_timestamp_seconds{{source="{n}"}} {t:.3f}' for n, t in last.items()]
    lines += ["# TYPE groundwork_journal_bytes gauge"]
    lines += [f'groundwork_journal_bytes{{source="{name}"}} {count}' for name, count in size.items()]
    candidate = path.with_suffix(".new")
    candidate.write_text("\n".join(lines) + "\n", encoding="utf-8")
    candidate.chmod(0o644)
    candidate.rename(path)


def main() -> int:
    """Do what there is to do, once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--unit", default="")
    parser.add_argument("--metrics", type=Path)
    given = parser.parse_args()
    if not given.store.is_dir():
        print(f"{given.store} is not there yet", file=sys.stderr)
        return 0
    now = time.time()
    journals = remove_old(list_journals(given.store), given.seconds, now)
    journals, enough = remove_surplus(journals, count_surplus(journals, given.bytes, given.store))
    age = min(max(given.seconds / 10, SMALLEST_AGE), LARGEST_AGE)
    due = [one for one in journals if not one.aside and now - one.first > age]
    if not enough and not due:
        # All that is left is in use; what is set aside now can go the next time.
        due = [max(journals, key=lambda one: one.size)] if journals else []
    if given.metrics:
        write_metrics(journals, given.metrics)
    units = [given.unit.replace("@", f"@{source}") for source in set_aside(due)]
    if given.unit and units:
        subprocess.run(["systemctl", "try-restart", "--", *units], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
