"""Callers that come close after each other go on together.

Each write to a connection wakes the process at its other end, and often a third one; on a busy machine that costs more
than the message itself. Messages that leave together cost it once.
"""

from __future__ import annotations

import asyncio


class Pace:
    """Lets callers through at most once in `seconds`; whoever comes after a pause of that length goes on at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = float("-inf")
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return now, or together with all others who came since the last time that somebody went on."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._waiting:
            if now - self._last >= self._seconds:
                self._last = now
                return
            loop.call_at(self._last + self._seconds, self._release)
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        await future

    def _release(self) -> None:
        self._last = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
