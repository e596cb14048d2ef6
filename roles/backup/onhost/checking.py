"""Reads repositories back: structure and every byte, signatures, each object's SHA-256, and the newest set's age."""

from __future__ import annotations

import os
import tarfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import signing
from .describing import BackupSet, hash_stream, list_sets, open_set, read_pieces, show_path
from .restic import Repository
from .retention import set_time
from .schedules import maximum_age
from .settings import JobError, Place, Settings
from .workspace import runtime_folder

SLOTS = 16_384


def list_places(settings: Settings) -> dict[str, Any]:
    """The sets of every place, without reading more than their tags."""
    answer: dict[str, Any] = {"item": settings.item, "kind": settings.kind, "places": {}}
    with runtime_folder() as runtime:
        for place in settings.places:
            try:
                repository = _open(settings, place, runtime)
                sets = list_sets(repository.list_snapshots())[0] if repository else []
                answer["places"][place.name] = {"sets": [_show(one) for one in sets]}
            except (JobError, OSError) as error:
                answer["places"][place.name] = {"sets": [], "error": str(error)}
    return answer


def _show(one: BackupSet) -> dict[str, Any]:
    return {"set": one.name, "host": one.host, "bytes": one.size, "objects": one.objects}


def _open(settings: Settings, place: Place, runtime: Path) -> Repository | None:
    """The repository at a place, or None where nothing has come yet."""
    repository = Repository(settings, place, runtime)
    repository.reach()
    if not place.login_file and not (Path(place.location) / "config").exists():
        return None
    return repository


def check_places(settings: Settings, every_set: bool) -> dict[str, Any]:
    """Check every place; ``findings`` says in words what does not hold. ``every_set`` reads old sets' objects too."""
    answer: dict[str, Any] = {"item": settings.item, "kind": settings.kind, "places": {}}
    signing.remember_roots(settings.authority, Path(settings.state) / "roots")
    with runtime_folder() as runtime:
        for place in settings.places:
            begun = time.monotonic()
            found: dict[str, Any] = {"findings": [], "sets": 0, "objects": 0, "bytes": 0, "newest": {}}
            try:
                _check(settings, place, runtime, every_set, found)
            except (JobError, OSError) as error:
                found["findings"].append(str(error))
            found["seconds"] = round(time.monotonic() - begun, 1)
            answer["places"][place.name] = found
    return answer


def _check(settings: Settings, place: Place, runtime: Path, every_set: bool, found: dict[str, Any]) -> None:
    findings: list[str] = found["findings"]
    repository = _open(settings, place, runtime)
    if repository is None:
        findings.append("no backup has come here yet")
        return
    snapshots = repository.list_snapshots()
    sets, _ = list_sets(snapshots)
    found["sets"] = len(sets)
    try:
        # Without a lock: a backup that is at work neither waits nor fails, and what it adds is not looked at.
        repository.run("check", "--read-data", "--no-lock", "--quiet")
    except JobError as error:
        findings.append(str(error))
    descriptions: dict[str, dict[str, Any]] = {}
    for one in sets:
        try:
            descriptions[one.name] = open_set(settings, repository, one)
        except JobError as error:
            findings.append(str(error))
    newest = {one.host: one for one in sets if one.name in descriptions}
    for one in sets:
        if one.name in descriptions and (every_set or newest[one.host] == one) and one.data:
            try:
                objects, size = compare_objects(repository, one, descriptions[one.name])
                found["objects"] += objects
                found["bytes"] += size
            except JobError as error:
                findings.append(str(error))
    now = datetime.now(UTC)
    for host, one in newest.items():
        age = (now - set_time(one.name)).total_seconds()
        found["newest"][host] = {"set": one.name, "age": round(age)}
    findings += judge_age(settings, {host: one["age"] for host, one in found["newest"].items()}, descriptions, newest)


def compare_objects(repository: Repository, one: BackupSet, description: dict[str, Any]) -> tuple[int, int]:
    """Read a set's data and compare every file with its description; files and bytes read. Raises JobError."""
    wanted = {entry["path"]: entry for entry in description["objects"]}
    total, seen = 0, 0
    with repository.reading(one.data, "/") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        try:
            for member in archive:
                if not member.isfile():
                    continue
                path = show_path("/" + os.path.normpath(member.name).lstrip("/"))
                entry = wanted.pop(path, None)
                file = archive.extractfile(member)
                digest = hash_stream(read_pieces(file)) if file else ""
                if entry is None:
                    raise JobError(f"set {one.name}: {path} is in the data and not in the description")
                if digest != entry["sha256"] or member.size != entry["size"]:
                    raise JobError(f"set {one.name}: {path} is not what was saved")
                seen += 1
                total += member.size
        except tarfile.TarError as error:
            raise JobError(f"set {one.name}: the data cannot be read: {error}") from None
    if wanted:
        raise JobError(f"set {one.name}: {len(wanted)} files are missing, the first is {sorted(wanted)[0]}")
    return seen, total


def judge_age(
    settings: Settings,
    ages: dict[str, float],
    descriptions: dict[str, dict[str, Any]],
    newest: dict[str, BackupSet],
) -> list[str]:
    """What is late, or not there at all. A replica's host makes no sets while another's does."""
    limit = maximum_age(settings.schedule)
    fresh = {host for host, age in ages.items() if age <= limit}
    if settings.kind == "redis":
        slots = [slot for host in fresh for slot in _slots_of(descriptions[newest[host].name])]
        if any("slots" in str(one["counts"]) for one in descriptions.values()) and slots:
            covered = sum(_width(slot) for slot in set(slots))
            if covered < SLOTS:
                return [f"the newest sets cover {covered} of {SLOTS} slots: a master of the cluster is not backed up"]
            return []
        if fresh:
            return []
    findings = []
    for host in settings.hosts:
        if host not in ages:
            findings.append(f"there is no set of {host}")
        elif host not in fresh:
            findings.append(f"the newest set of {host} is {ages[host] / 3600:.1f} h old; at most {limit / 3600:.1f} h")
    return findings


def _slots_of(description: dict[str, Any]) -> list[str]:
    return [slot for one in description["counts"].values() for slot in one.get("slots", []) if isinstance(one, dict)]


def _width(slot: str) -> int:
    first, _, last = slot.partition("-")
    return int(last or first) - int(first) + 1
