"""The phases of bringing a lab up, and how long each took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]


class Phases:
    """Times named phases and tells a listener about them; the listener decides how it looks."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.current = ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time one phase; its time is kept even when it fails."""
        start = time.monotonic()
        self.current = name
        self.note("")
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - start, 2)

    def note(self, text: str) -> None:
        """Tell what goes on within the current phase."""
        self._say(f"{self.current}: {text}" if text else self.current)
