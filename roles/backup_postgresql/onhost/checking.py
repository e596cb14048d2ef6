"""Reads everything of an archive back, and says what is wrong with it."""

from __future__ import annotations

import subprocess
import time

from . import metrics
from .backing import alone
from .calls import CallError, Stanza, call, list_archive, read_stanza
from .reading import find_gaps, read_verification
from .settings import Settings

SLACK = 60
"""Seconds between a timer's moment and the start of its backup."""


def check(settings: Settings) -> dict[str, object]:
    """Decrypt and read every object, look for missing log, and have PostgreSQL archive a segment now.

    Returns what was found; ``problems`` is empty where all is well. ``notes`` are moments that cannot be restored
    although every backup and everything since the newest can. Nothing of it raises.
    """
    problems: list[str] = []
    notes: list[str] = []
    objects = 0
    stanza: Stanza | None = None
    try:
        with alone(settings):
            stanza = read_stanza(settings)
            objects, found = read_verification(call(settings, "verify", "--output=text", "--verbose"))
            problems += found
            names = list_archive(settings, stanza.archive_id)
        for gap in find_gaps(names, stanza.backups):
            (notes if gap.past and not gap.needed else problems).append(gap.text)
    except CallError as error:
        problems.append(str(error))
    try:
        call(settings, "check")
    except CallError as error:
        problems.append(f"PostgreSQL does not archive its log: {error}")
    if stanza is not None:
        problems += _judge_backups(settings, stanza)
    _note(settings, stanza, not problems)
    labels = [one.label for one in stanza.backups] if stanza else []
    return {"backups": labels, "objects": objects, "problems": problems, "notes": notes}


def _judge_backups(settings: Settings, stanza: Stanza) -> list[str]:
    if not stanza.backups:
        return ["there is no backup yet"]
    problems = [
        f"backup {one.label} has pages of PostgreSQL with a wrong checksum"
        for one in stanza.backups[-1:]
        if one.damaged_pages
    ]
    newest = max(one.started for one in stanza.backups)
    for timer in settings.timers:
        due = _last_trigger(timer)
        if due and newest < due - SLACK and time.time() - due > SLACK and not _is_running(timer):
            moment = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(due))
            problems.append(f"the backup of {moment} ({timer}) was not made")
    return problems


def _show(unit: str, key: str) -> str:
    command = ["systemctl", "show", "--timestamp=unix", f"--property={key}", "--value", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()


def _last_trigger(timer: str) -> float:
    """When it last fired, in seconds since 1970; 0 where it never has or systemd does not say."""
    text = _show(timer, "LastTriggerUSec").removeprefix("@")
    return float(text) if text.isdigit() else 0.0


def _is_running(timer: str) -> bool:
    return _show(_show(timer, "Unit"), "ActiveState") == "activating"


def _note(settings: Settings, stanza: Stanza | None, ok: bool) -> None:
    samples: list[metrics.Sample] = [
        ("postgresql_check_failed", {}, float(not ok)),
        ("postgresql_check_timestamp_seconds", {}, time.time()),
    ]
    metrics.write(settings, [*samples, *(metrics.list_samples(stanza) if stanza else [])])
