"""One piece of work at a time on an item, and a folder for what must not stay."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .settings import JobError, Settings


@contextmanager
def lock_item(settings: Settings, seconds: float = 0.0) -> Iterator[None]:
    """One backup or restore of an item at a time. Raises JobError while another is at work."""
    folder = Path(settings.state) / settings.item
    folder.mkdir(0o700, parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    with (folder / "lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise JobError(f"{settings.item}: another backup or restore of it is at work") from None
                time.sleep(0.5)
        yield


@contextmanager
def runtime_folder() -> Iterator[Path]:
    """A folder for what must not stay, for root alone."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "/run")
    with tempfile.TemporaryDirectory(prefix="groundwork-backup-", dir=folder) as name:
        yield Path(name)
