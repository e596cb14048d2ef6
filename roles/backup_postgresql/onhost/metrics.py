"""Figures for the host's exporter, as a text file (prometheus.io, "Exposition formats")."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from .calls import Stanza
from .settings import Settings

Sample = tuple[str, Mapping[str, str], float]
PREFIX = "groundwork_backup_"
REPOSITORY = "main"
LOOKAHEAD = 8
"""Times of a schedule that are looked at for its longest pause."""
GRACE = 1800.0
"""Seconds by which a backup may be late at least."""
# The first ones are those of every kind of backup, and alerts are made for them once; their help has to be the same.
HELP = {
    "last_run_timestamp_seconds": "When the last backup ended, well or not.",
    "last_success_timestamp_seconds": "When the last set was complete.",
    "failed": "Whether the last backup failed (1) or not (0).",
    "size_bytes": "Size of the data in the last set.",
    "duration_seconds": "How long the last set took.",
    "maximum_age_seconds": "Age of the last set above which it is late.",
    "postgresql_oldest_timestamp_seconds": "When the oldest backup that is kept ended.",
    "postgresql_backups": "Backups in the repository.",
    "postgresql_stored_bytes": "What the newest backup takes, with those it builds on.",
    "postgresql_damaged_pages": "Whether the newest backup met pages with a wrong checksum.",
    "postgresql_check_failed": "Whether the last check found something (1) or not (0).",
    "postgresql_check_timestamp_seconds": "When the last check ended.",
}


def list_samples(stanza: Stanza) -> list[Sample]:
    """What follows from the repository alone."""
    if not stanza.backups:
        return [("postgresql_backups", {}, 0)]
    newest = stanza.backups[-1]
    return [
        ("last_success_timestamp_seconds", {}, max(one.finished for one in stanza.backups)),
        ("size_bytes", {}, newest.size),
        ("postgresql_oldest_timestamp_seconds", {}, stanza.backups[0].finished),
        ("postgresql_backups", {}, len(stanza.backups)),
        ("postgresql_stored_bytes", {}, newest.stored),
        ("postgresql_damaged_pages", {}, float(newest.damaged_pages)),
    ]


def list_run(settings: Settings, began: float, now: float, ok: bool) -> list[Sample]:
    """What a backup says of itself."""
    samples: list[Sample] = [("last_run_timestamp_seconds", {}, now), ("failed", {}, float(not ok))]
    age = maximum_age(settings.schedule)
    samples += [("maximum_age_seconds", {}, age)] if age else []
    return [*samples, ("duration_seconds", {}, now - began)] if ok else samples


def maximum_age(schedule: str) -> float:
    """Seconds that the newest backup may be old: the schedule's longest pause and half of it; 0 where nobody knows."""
    words = ["systemd-analyze", "calendar", f"--iterations={LOOKAHEAD}", schedule]
    environment = {"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    lines = [line.split(":", 1)[1].split() for line in done.stdout.splitlines() if "elapse:" in line or "Iter" in line]
    times = [datetime.fromisoformat(f"{words[1]}T{words[2]}") for words in lines if len(words) > 2]
    pauses = [(later - sooner).total_seconds() for sooner, later in itertools.pairwise(times)]
    return max(pauses) + max(GRACE, max(pauses) / 2) if pauses else 0.0


def merge(settings: Settings, before: str, samples: Iterable[Sample]) -> str:
    """The file with new samples in it; of what was there, samples that no new one replaces stay."""
    labels = {"platform": settings.platform, "item": settings.item, "repository": REPOSITORY}
    kept = dict(line.rsplit(" ", 1) for line in before.splitlines() if line and not line.startswith("#"))
    for name, own, value in samples:
        text = ",".join(f'{key}="{one}"' for key, one in {**labels, **own}.items())
        kept[f"{PREFIX}{name}{{{text}}}"] = f"{value:.15g}"
    lines: list[str] = []
    for name, text in HELP.items():
        rows = [f"{key} {value}" for key, value in sorted(kept.items()) if key.startswith(f"{PREFIX}{name}{{")]
        lines += [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} gauge", *rows] if rows else []
    return "\n".join(lines) + "\n"


def write(settings: Settings, samples: Iterable[Sample]) -> None:
    """Replace the file in one step: the exporter must not read half of it."""
    if not settings.metrics:
        return
    path = Path(settings.metrics)
    new = path.with_name(f"{path.name}.new")
    before = path.read_text("utf-8") if path.exists() else ""
    new.write_text(merge(settings, before, samples), "utf-8")
    new.chmod(0o644)
    new.replace(path)
