"""Retention in the store of journals: by time, by size, fair between hosts; names as systemd gives them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from roles.logs.onhost import keep_journals as keep

NOW = 2_000_000_000.0
DAY = 86_400.0
MIB = 1024**2
IDENTIFIER = bytes(range(16))


def write_journal(store: Path, name: str, first: float, last: float, size: int = 4096, entries: int = 3) -> Path:
    """A file with the header of a journal, its first and last line at these times."""
    path = store / name
    fields = [keep.MAGIC, 0, 0, 0, *[IDENTIFIER] * 4, 256, 0, 0, 0, 0, 0, 0, 0, entries, 9, 7, 0]
    header = keep.HEADER.pack(*fields, int(first * 1e6), int(last * 1e6))
    path.write_bytes(header + b"x" * (size - len(header)))
    os.utime(path, (last, last))
    return path


def names(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir())


def full(source: str, number: int) -> str:
    return f"{source}@{IDENTIFIER.hex()}-{number:016x}-{number:016x}.journal"


def test_a_file_says_whose_it_is_and_from_when(tmp_path: Path) -> None:
    write_journal(tmp_path, "app-1.example.journal", NOW - 50, NOW)
    write_journal(tmp_path, full("app-1.example", 1), NOW - 90, NOW - 60)
    (tmp_path / "app-1.example@00000000000000aa-00000000000000bb.journal~").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no journal")
    found = {one.path.name: one for one in keep.list_journals(tmp_path)}
    assert len(found) == 3
    assert {one.source for one in found.values()} == {"app-1.example"}
    assert (found["app-1.example.journal"].aside, found["app-1.example.journal"].first) == (False, NOW - 50)
    assert all(one.aside for name, one in found.items() if "@" in name)


def test_what_is_set_aside_goes_when_its_last_line_is_too_old(tmp_path: Path) -> None:
    write_journal(tmp_path, full("app", 1), NOW - 40 * DAY, NOW - 31 * DAY)
    write_journal(tmp_path, full("app", 2), NOW - 40 * DAY, NOW - 29 * DAY)
    write_journal(tmp_path, "app.journal", NOW - 90 * DAY, NOW - 80 * DAY)
    keep.remove_old(keep.list_journals(tmp_path), 30 * DAY, NOW)
    assert names(tmp_path) == sorted([full("app", 2), "app.journal"])


def test_a_clock_that_is_ahead_keeps_nothing_longer(tmp_path: Path) -> None:
    path = write_journal(tmp_path, full("app", 1), NOW - 40 * DAY, NOW + 900 * DAY)
    os.utime(path, (NOW - 31 * DAY, NOW - 31 * DAY))
    keep.remove_old(keep.list_journals(tmp_path), 30 * DAY, NOW)
    assert names(tmp_path) == []


def test_who_floods_the_store_pushes_out_its_own(tmp_path: Path) -> None:
    for number in range(1, 9):
        write_journal(tmp_path, full("loud", number), NOW - 100 + number, NOW, MIB)
    write_journal(tmp_path, full("quiet", 1), NOW - 900, NOW, MIB)
    journals = keep.list_journals(tmp_path)
    left, enough = keep.remove_surplus(journals, keep.count_surplus(journals, 6 * MIB, tmp_path))
    assert enough or keep.count_surplus(left, 0, tmp_path)
    assert full("quiet", 1) in names(tmp_path)
    assert full("loud", 1) not in names(tmp_path)


def test_files_in_use_are_never_removed(tmp_path: Path) -> None:
    write_journal(tmp_path, "app.journal", NOW - 100, NOW, MIB)
    left, enough = keep.remove_surplus(keep.list_journals(tmp_path), MIB)
    assert (len(left), enough, names(tmp_path)) == (1, False, ["app.journal"])


def test_files_are_set_aside_under_the_names_of_systemd(tmp_path: Path) -> None:
    write_journal(tmp_path, "app.journal", NOW - 2 * DAY, NOW)
    write_journal(tmp_path, "empty.journal", NOW, NOW, entries=0)
    assert keep.set_aside(keep.list_journals(tmp_path)) == ["app"]
    first = int((NOW - 2 * DAY) * 1e6)
    assert names(tmp_path) == [f"app@{IDENTIFIER.hex()}-{7:016x}-{first:016x}.journal", "empty.journal"]


def test_figures_say_when_each_host_was_last_heard_of(tmp_path: Path) -> None:
    write_journal(tmp_path, full("app", 1), NOW - 90, NOW - 60, 8192)
    write_journal(tmp_path, "app.journal", NOW - 50, NOW - 5, 8192)
    target = tmp_path / "figures.prom"
    keep.write_metrics(keep.list_journals(tmp_path), target)
    text = target.read_text()
    assert f'groundwork_journal_last_entry_timestamp_seconds{{source="app"}} {NOW - 5:.3f}' in text
    assert 'groundwork_journal_bytes{source="app"} 16384' in text
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_store_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, keep.__file__, "--store", str(tmp_path / "none"), "--seconds", "1"]
    assert subprocess.run(command, check=False).returncode == 0
