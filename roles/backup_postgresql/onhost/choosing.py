"""What a restore starts from: the backup, the timeline, and whether the moment can be reached at all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .calls import call, list_archive, read_stanza
from .reading import segment_number
from .server import read_commits
from .settings import Settings

NEWEST_SEGMENTS = 8
"""Segments that are looked through for the newest commit; a database that commits nothing fills none."""
FIRST_STEP = "stop"


class RestoreError(Exception):
    """A restore cannot begin or did not come to its end; nothing is marked good."""


@dataclass(frozen=True)
class Restore:
    """What a restore is about, and how far it has come: the file that makes it resumable."""

    moment: float | None
    """Seconds since 1970 to go back to; None for everything that is archived."""
    label: str
    """The backup that it starts from."""
    timeline: int | None
    step: str = FIRST_STEP
    began: float = 0.0
    ended: float = 0.0
    error: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    reached: str = ""
    """What the database says it is at: its newest timeline and place in the log."""

    @property
    def is_complete(self) -> bool:
        """Whether it came to its end."""
        return bool(self.ended) and not self.error


def choose_timeline(histories: dict[str, int], moment: float) -> int | None:
    """The timeline that was being written at a moment, from the times at which histories were archived.

    A timeline's history is archived when it begins, at the end of a recovery. None where no recovery was archived:
    PostgreSQL then has one timeline only.
    """
    begun = {int(name[:8], 16): at for name, at in histories.items() if name.endswith(".history")}
    if not begun:
        return None
    before = [timeline for timeline, at in begun.items() if at <= moment]
    return max(before) if before else min(begun) - 1


def find_newest_commit(settings: Settings, archived: Iterable[str], timeline: int) -> float | None:
    """When the newest transaction on a timeline that is archived was committed; None where the newest log has none."""
    segments = sorted(name[:24] for name in archived if (place := segment_number(name)) and place[0] == timeline)
    with tempfile.TemporaryDirectory(prefix="groundwork-restore-") as folder:
        shutil.chown(folder, settings.account, settings.account)
        for name in reversed(segments[-NEWEST_SEGMENTS:]):
            path = f"{folder}/{name}"
            call(settings, "archive-get", name, path)
            found = read_commits(settings, path)
            if found:
                return found[-1]
    return None


def plan_restore(settings: Settings, moment: float | None) -> Restore:
    """Choose backup and timeline. Raises RestoreError for a moment that cannot be restored, CallError."""
    stanza = read_stanza(settings)
    if not stanza.backups:
        raise RestoreError("there is no backup to restore from")
    if moment is None:
        return Restore(None, stanza.backups[-1].label, None)
    if moment > time.time():
        raise RestoreError(f"{show(moment)} has not been yet")
    usable = [one for one in stanza.backups if one.finished < moment]
    if not usable:
        oldest = show(stanza.backups[0].finished + 1)
        raise RestoreError(f"{show(moment)} lies before the oldest backup; the earliest moment is {oldest}")
    archived = list_archive(settings, stanza.archive_id)
    timeline = choose_timeline(archived, moment)
    newest = find_newest_commit(settings, archived, timeline or 1)
    # PostgreSQL ends a recovery to a moment at the first commit after it, and fails where it finds none.
    if newest is not None and newest <= moment:
        raise RestoreError(
            f"the newest commit that is archived from then is of {show(newest)}: {show(moment)} cannot be told apart"
            " from it; restore a moment before it, or everything that is archived"
        )
    return Restore(moment, usable[-1].label, timeline)


def show(moment: float) -> str:
    """A moment in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
