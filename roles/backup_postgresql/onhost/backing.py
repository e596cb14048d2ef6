"""Makes one backup, thins out the old ones, and says how it went."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import metrics
from .calls import Backup, CallError, call, read_stanza
from .keeping import choose_expiry
from .settings import Settings

JUST_NOW = 15
"""Seconds: where both timers name one moment, the full backup serves for the differential one, too."""


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Wait until no other backup or check of the archive runs."""
    with (Path(settings.state) / f"{settings.service}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def choose_type(asked: str, fulls: list[Backup], full_every: int, now: float) -> str:
    """Return ``full`` or ``diff``, or an empty text where a full backup has just been made in the place of a diff."""
    if asked == "full" or not fulls:
        return "full"
    newest = fulls[-1]
    if now - newest.started < JUST_NOW:
        return ""
    if full_every and now - newest.started >= full_every:
        return "full"
    return "diff"


def make_backup(settings: Settings, asked: str, forced: bool = False) -> dict[str, object]:
    """Make a backup of a kind (``full`` or ``diff``), and return what it is.

    ``forced`` makes a differential one even right after a full one. Raises CallError; the figures say so too, and the
    backups there are stay as they are.
    """
    began = time.time()
    try:
        with alone(settings):
            result = _make(settings, asked, began, forced)
    except CallError:
        _note(settings, began, ok=False)
        raise
    _note(settings, began, ok=True)
    return result


def _make(settings: Settings, asked: str, began: float, forced: bool) -> dict[str, object]:
    fulls = [one for one in read_stanza(settings).backups if one.kind == "full"]
    kind = choose_type(asked, fulls, settings.full_every, began)
    if not kind and not forced:
        return {"label": fulls[-1].label, "type": "full", "made": False}
    kind = kind or "diff"
    call(settings, "backup", f"--type={kind}", "--no-expire-auto", level="info", told=True)
    stanza = read_stanza(settings)
    newest = stanza.backups[-1]
    metrics.write(settings, metrics.list_samples(stanza))
    expiry = choose_expiry(stanza.backups, settings.daily, settings.weekly, settings.monthly, time.time())
    for label in expiry.labels:
        call(settings, "expire", f"--set={label}", level="info", told=True)
    log = ("--repo1-retention-archive-type=full", f"--repo1-retention-archive={expiry.log_fulls}")
    call(settings, "expire", *log, level="info", told=True)
    metrics.write(settings, metrics.list_samples(read_stanza(settings)))
    return {
        "label": newest.label,
        "type": newest.kind,
        "made": True,
        "started": newest.started,
        "finished": newest.finished,
        "size": newest.size,
        "stored": newest.stored,
        "damaged_pages": newest.damaged_pages,
        "expired": list(expiry.labels),
    }


def _note(settings: Settings, began: float, ok: bool) -> None:
    metrics.write(settings, metrics.list_run(settings, began, time.time(), ok))
