"""Restores one item on this host in three steps: fetch and verify, place, compare. Each may be repeated."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from . import restore_files, restore_nats, restore_redis
from .describing import BackupSet, hash_file, list_sets, open_set, show_path
from .restic import Repository
from .restore_state import fetched_folder, read_state, write_state
from .retention import set_time
from .settings import JobError, Place, Settings
from .workspace import lock_item, runtime_folder

RESTORERS: dict[str, Any] = {
    "files": restore_files,
    "configuration": restore_files,
    "volumes": restore_files,
    "redis": restore_redis,
    "nats": restore_nats,
}
DESCRIPTION = "description.json"
RESERVE = 1.1
"""Of the set's size, what must be free before it is fetched."""


def fetch(settings: Settings, at: datetime | None, name: str) -> dict[str, Any]:
    """Fetch the newest set (not newer than ``at``; or the one of that name) that is what was saved.

    A set that does not hold is refused by name; its copy in the next repository is tried, then the next older one. Live
    data are not touched. Raises JobError when none holds.
    """
    _restorer(settings)
    refused: list[str] = []
    with lock_item(settings, 60), runtime_folder() as runtime:
        state = read_state(settings)
        if state.get("phase") in ("placing", "placed"):
            raise JobError(f"a restore of set {state['set']} is not finished: take it up again")
        for one, place, repository in _list_candidates(settings, at, name, runtime, refused):
            try:
                description = _fetch(settings, repository, one)
            except (JobError, OSError) as error:
                told = str(error).removeprefix(f"set {one.name}: ")
                refused.append(f"repository {place.name}: set {one.name}: {told}")
                continue
            write_state(settings, {"set": one.name, "phase": "fetched", "repository": place.name})
            return {
                "set": one.name, "repository": place.name, "refused": refused, "started": description["started"],
                "bytes": description["payload"]["bytes"], "counts": description["counts"],
                "loss": _restorer(settings).describe_loss(settings, description),
            }  # fmt: skip
    wanted = f"set {name}" if name else f"set made before {at.isoformat()}" if at else "set"
    raise JobError("; ".join([f"there is no {wanted} of {settings.host} that could be restored", *refused]))


def _list_candidates(
    settings: Settings, at: datetime | None, name: str, runtime: Path, refused: list[str]
) -> list[tuple[BackupSet, Place, Repository]]:
    """Every set that may be restored in every repository that answers: the newest first, and of one set the first
    repository's. Those that do not answer are named in ``refused``."""
    found: list[tuple[BackupSet, Place, Repository]] = []
    for place in settings.places:
        try:
            repository = Repository(settings, place, runtime)
            repository.reach()
            sets, _ = list_sets(repository.list_snapshots())
        except (JobError, OSError) as error:
            refused.append(f"repository {place.name}: {error}")
            continue
        found += [(one, place, repository) for one in choose_sets(sets, settings.host, at, name)]
    return sorted(found, key=lambda one: one[0].name, reverse=True)


def choose_sets(sets: list[BackupSet], host: str, at: datetime | None, name: str) -> list[BackupSet]:
    """The sets of a host that may be restored, the best first."""
    fitting = [one for one in sets if one.host == host and one.data and name in ("", one.name)]
    return [one for one in reversed(fitting) if at is None or set_time(one.name) <= at]


def _restorer(settings: Settings) -> Any:
    if settings.kind not in RESTORERS:
        raise JobError(f"this version restores no {settings.kind} (it knows {', '.join(sorted(RESTORERS))})")
    return RESTORERS[settings.kind]


def _fetch(settings: Settings, repository: Repository, one: BackupSet) -> dict[str, Any]:
    """Fetch one set and compare every file with its description. Raises JobError."""
    folder = fetched_folder(settings)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(0o700, parents=True)
    description = open_set(settings, repository, one)
    size, free = description["payload"]["bytes"], shutil.disk_usage(folder).free
    if free < size * RESERVE:
        raise JobError(f"set {one.name}: {size >> 20} MiB do not fit: {folder} has {free >> 20} MiB free")
    repository.run("restore", "--no-lock", "--quiet", "--target", str(folder / "tree"), one.data)
    compare_tree(folder / "tree", description)
    (folder / DESCRIPTION).write_text(json.dumps(description))
    return description


def compare_tree(tree: Path, description: dict[str, Any]) -> None:
    """Raise JobError unless a folder holds exactly the files that a description names."""
    wanted = {entry["path"]: entry for entry in description["objects"]}
    for path in tree.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        shown = show_path("/" + str(path.relative_to(tree)))
        entry = wanted.pop(shown, None)
        if entry is None or hash_file(path) != entry["sha256"]:
            raise JobError(f"set {description['set']}: {shown} is not what was saved")
    if wanted:
        raise JobError(f"set {description['set']}: {len(wanted)} files are missing, the first is {sorted(wanted)[0]}")


def place(settings: Settings) -> dict[str, Any]:
    """Replace the live data by the set that was fetched. Raises JobError; the state then says that it is not done."""
    with lock_item(settings, 60):
        state, description, tree = _take_up(settings, ("fetched", "placing", "placed"))
        write_state(settings, state | {"phase": "placing"})
        told = _restorer(settings).place(settings, description, tree)
        write_state(settings, state | {"phase": "placed"})
        return {"set": state["set"], **told}


def compare(settings: Settings) -> dict[str, Any]:
    """Start what was stopped and compare what is there with the set's description. Raises JobError."""
    with lock_item(settings, 60):
        state, description, tree = _take_up(settings, ("placed",))
        told = _restorer(settings).compare(settings, description, tree)
        write_state(settings, state | {"phase": "done"})
        shutil.rmtree(fetched_folder(settings), ignore_errors=True)
        return {"set": state["set"], **told}


def _take_up(settings: Settings, phases: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any], Path]:
    state = read_state(settings)
    if state.get("phase") not in phases:
        raise JobError(f"{settings.item}: the restore is {state.get('phase', 'not begun')}, not {' or '.join(phases)}")
    folder = fetched_folder(settings)
    description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text())
    if description["set"] != state["set"]:
        raise JobError(f"{settings.item}: another set was fetched than the one that is being restored")
    return state, description, folder / "tree"
