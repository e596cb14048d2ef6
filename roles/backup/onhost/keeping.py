"""Looks after one item's repository where it lies: which sets stay, and what there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .describing import BackupSet, hash_file, list_sets
from .restic import Repository
from .retention import choose_kept, set_time
from .settings import Place, Settings
from .workspace import runtime_folder

UNFINISHED = timedelta(days=1)
"""Data without a description may belong to a backup that still runs; after this they are what a killed one left."""


def thin_out(settings: Settings) -> dict[str, Any]:
    """Remove the sets that retention lets go, and what killed backups left. Raises JobError."""
    answer: dict[str, Any] = {"item": settings.item, "places": {}}
    with runtime_folder() as runtime:
        for place in settings.places:
            repository = Repository(settings, place, runtime)
            if (Path(place.location) / "config").exists():
                answer["places"][place.name] = thin_out_place(settings, place, repository)
            else:
                answer["places"][place.name] = {"kept": 0, "removed": 0, "note": "no backup has come yet"}
    return answer


def thin_out_place(settings: Settings, place: Place, repository: Repository) -> dict[str, int]:
    """Thin out one repository that lies in a folder of this host. Raises JobError."""
    now = datetime.now(UTC)
    repository.run("unlock")
    sets, rest = list_sets(repository.list_snapshots())
    kept = choose_all_kept(sets, settings.retention, now)
    gone = [one for one in sets if one.name not in kept]
    doomed = [name for one in gone for name in (one.data, one.description) if name]
    doomed += [one.identifier for one in rest if now - _time_of(one.tag("set"), now) > UNFINISHED]
    if doomed:
        repository.run("forget", "--prune", "--quiet", *doomed)
    return {"kept": len(sets) - len(gone), "removed": len(gone)}


def choose_all_kept(sets: list[BackupSet], retention: dict[str, int], now: datetime) -> set[str]:
    """The sets that stay: each host's by themselves, so that one host's newest never displaces another's."""
    kept: set[str] = set()
    for host in {one.host for one in sets}:
        kept |= choose_kept([one.name for one in sets if one.host == host], retention, now)
    return kept


def _time_of(name: str, now: datetime) -> datetime:
    try:
        return set_time(name)
    except ValueError:
        return now


def repair(settings: Settings) -> dict[str, Any]:
    """Take files that are not what their name says out of the repository, so that the next backup saves them anew.

    restic names every file by the SHA-256 of its content; it believes its index, and would go on referring to data
    that are damaged. What is taken out lies beside the repository, below ``damaged``. Sets that need it stay listed,
    and are refused by checks and restores. Raises JobError.
    """
    answer: dict[str, Any] = {"item": settings.item, "places": {}}
    with runtime_folder() as runtime:
        for place in settings.places:
            root = Path(place.location)
            if place.login_file or not (root / "config").exists():
                continue
            moved = []
            for path in sorted(one for part in ("data", "index", "snapshots") for one in (root / part).rglob("*")):
                if path.is_file() and hash_file(path) != path.name:
                    aside = root.parent / f"damaged-{root.name}" / path.name
                    aside.parent.mkdir(0o700, exist_ok=True)
                    path.rename(aside)
                    moved.append(str(path.relative_to(root)))
            repository = Repository(settings, place, runtime)
            repository.run("unlock")
            repository.run("rebuild-index", "--quiet")
            answer["places"][place.name] = {"moved": moved}
    return answer
