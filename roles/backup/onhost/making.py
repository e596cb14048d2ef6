"""Makes one set: collects the data, saves them, describes them, and only then is it a set."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import metrics, restore_state, signing
from .collected import Collected
from .describing import describe_objects, seal, show_time
from .keeping import thin_out_place
from .kinds import collect
from .restic import PROGRAM, Repository
from .settings import JobError, Place, Settings
from .workspace import lock_item, runtime_folder


def make_set(settings: Settings, by: str) -> dict[str, Any]:
    """Make one set in every repository of the item; the result says how each went. Raises nothing of its own."""
    started = datetime.now(UTC)
    name = f"{started.strftime('%Y%m%dT%H%M%SZ')}-{secrets.token_hex(4)}"
    result: dict[str, Any] = {"item": settings.item, "host": settings.host, "set": name, "places": {}}
    begun = time.monotonic()
    try:
        # A timer and a command may come together: the second waits for the first.
        with lock_item(settings, 600), runtime_folder() as runtime:
            _make(settings, by, name, started, runtime, result)
    except (JobError, OSError) as error:
        result["error"] = str(error)
    result["seconds"] = round(time.monotonic() - begun, 1)
    result["ok"] = "error" not in result and all("error" not in one for one in result["places"].values())
    metrics.write_run(settings, result)
    metrics.replace(Path(settings.state) / settings.item / "last.json", json.dumps(result), 0o600)
    return result


def _make(settings: Settings, by: str, name: str, started: datetime, runtime: Path, result: dict[str, Any]) -> None:
    if unfinished := restore_state.read_unfinished(settings):
        raise JobError(f"a restore of set {unfinished} is not finished: what lies here now is not to be kept")
    signing.remember_roots(settings.authority, Path(settings.state) / "roots")
    # What a killed run left there.
    shutil.rmtree(settings.staging, ignore_errors=True)
    try:
        collected = collect(settings)
        if collected.skipped:
            result["skipped"] = collected.skipped
            return
        for place in settings.places:
            begun = time.monotonic()
            try:
                found = _save(settings, place, collected, by, name, started, runtime)
            except (JobError, OSError) as error:
                found = {"error": str(error)}
            result["places"][place.name] = {**found, "seconds": round(time.monotonic() - begun, 1)}
    finally:
        shutil.rmtree(settings.staging, ignore_errors=True)


def _save(
    settings: Settings, place: Place, collected: Collected, by: str, name: str, started: datetime, runtime: Path
) -> dict[str, Any]:
    repository = Repository(settings, place, runtime)
    repository.reach()
    repository.prepare()
    tags = [f"set={name}", f"item={settings.item}"]
    summary = repository.back_up(collected.paths, collected.excludes, [*tags, "part=data"])
    snapshot = repository.full_identifier(summary["snapshot_id"])
    objects, totals = describe_objects(repository, snapshot)
    counts = {**collected.counts, "objects": {k: v for k, v in totals.items() if k != "bytes"}}
    description = {
        "format": 1,
        "set": name,
        "environment": settings.environment,
        "platform": settings.platform,
        "item": settings.item,
        "kind": settings.kind,
        "service": settings.service,
        "host": settings.host,
        "started": show_time(started),
        "finished": show_time(datetime.now(UTC)),
        "by": by,
        "tools": {**collected.tools, "groundwork": settings.version, "restic": _restic_version(repository)},
        "payload": {"format": "restic", "identifier": snapshot, "bytes": totals["bytes"]},
        "objects": objects,
        "counts": counts,
    }
    told = [f"bytes={totals['bytes']}", f"objects={len(objects)}"]
    repository.store(seal(settings, description), [*tags, "part=description", *told])
    if not place.login_file:
        # A folder has no host that looks after it: who adds to it thins it out, too.
        thin_out_place(settings, place, repository)
    return {"bytes": totals["bytes"], "objects": len(objects), "added": summary.get("data_added", 0)}


def _restic_version(repository: Repository) -> str:
    words = repository.run("version").decode().split()
    return words[1] if len(words) > 1 else PROGRAM
