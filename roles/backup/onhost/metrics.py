"""Figures for node_exporter's textfile collector."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from .schedules import maximum_age
from .settings import JobError, Settings

HELP = {
    "last_run_timestamp_seconds": "When the last backup ended, well or not.",
    "last_success_timestamp_seconds": "When the last set was complete.",
    "failed": "Whether the last backup failed (1) or not (0).",
    "size_bytes": "Size of the data in the last set.",
    "added_bytes": "What the last set added to the repository.",
    "objects": "Files in the last set.",
    "duration_seconds": "How long the last set took.",
    "maximum_age_seconds": "Age of the last set above which it is late.",
}


def write_run(settings: Settings, result: dict[str, Any]) -> None:
    """Write the figures of one run; those of an earlier success stay until the next."""
    memory = Path(settings.state) / settings.item / "figures.json"
    try:
        figures: dict[str, dict[str, float]] = json.loads(memory.read_text())
    except (OSError, ValueError):
        figures = {}
    now = time.time()
    for place in settings.places:
        found = result["places"].get(place.name, {})
        ours = figures.setdefault(place.name, {})
        skipped = "skipped" in result
        ours["last_run_timestamp_seconds"] = now
        with contextlib.suppress(JobError):
            ours["maximum_age_seconds"] = maximum_age(settings.schedule)
        ours["failed"] = float("error" in result or "error" in found)
        if skipped or (found and "error" not in found):
            ours["last_success_timestamp_seconds"] = now
        if found and "error" not in found:
            ours |= {"size_bytes": found["bytes"], "added_bytes": found["added"], "objects": found["objects"]}
            ours["duration_seconds"] = found["seconds"]
    replace(memory, json.dumps(figures), 0o600)
    replace(figures_path(settings), _render(settings, figures), 0o644)


def figures_path(settings: Settings) -> Path:
    """Where the figures are written; the unit copies them to where node_exporter looks, outside its sandbox."""
    return Path(settings.state) / settings.item / f"groundwork-backup-{settings.platform}-{settings.item}.prom"


def _render(settings: Settings, figures: dict[str, dict[str, float]]) -> str:
    lines = []
    for name, told in HELP.items():
        values = [(place, found[name]) for place, found in sorted(figures.items()) if name in found]
        if values:
            lines += [f"# HELP groundwork_backup_{name} {told}", f"# TYPE groundwork_backup_{name} gauge"]
        for place, value in values:
            labels = f'platform="{settings.platform}",item="{settings.item}",repository="{place}"'
            lines.append(f"groundwork_backup_{name}{{{labels}}} {value:.15g}")
    return "\n".join(lines) + "\n"


def replace(path: Path, text: str, mode: int) -> None:
    """Write a file in one step."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)
