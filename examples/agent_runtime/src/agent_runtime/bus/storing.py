"""Messages on their way into streams: many at once over one connection, each with JetStream's own answer.

The library's `publish` of JetStream starts a timer and makes several objects and coroutines for each message, which
took a third of a sending process's time. Here all answers come to one subscription, and one timer looks after them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping

from nats.aio.msg import Msg
from nats.js.api import Header

NO_RESPONDERS = "503"
Publish = Callable[[str, bytes, str, dict[str, str]], Awaitable[None]]


class StoreRefusedError(Exception):
    """JetStream's refusal. `code` is its error code (NATS ADR-7), or None where it gives none."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Storing:
    """The answers that are awaited, by the last word of the subject on which each will come."""

    def __init__(self, prefix: str, publish: Publish, timeout: float) -> None:
        """`prefix` begins the subjects of the answers; `timeout` is in seconds."""
        self.subject = f"{prefix}.*"
        self._prefix, self._publish, self._timeout = prefix, publish, timeout
        self._numbers = itertools.count()
        # In the order in which they end, because all may take equally long.
        self._waiting: dict[str, tuple[float, asyncio.Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def store(self, subject: str, payload: bytes, identifier: str, headers: Mapping[str, str] = {}) -> None:
        """Send a message with these headers besides its identifier, and return once JetStream has it.

        Raises:
            StoreRefusedError: JetStream refused it, or no stream takes its subject.
            TimeoutError: no answer in time; it is perhaps stored.
        """
        loop = asyncio.get_running_loop()
        token = str(next(self._numbers))
        future: asyncio.Future[None] = loop.create_future()
        self._waiting[token] = (loop.time() + self._timeout, future)
        if self._timer is None:
            self._timer = loop.call_later(self._timeout, self._expire)
        try:
            sent = {Header.MSG_ID.value: identifier, **headers}
            await self._publish(subject, payload, f"{self._prefix}.{token}", sent)
            await future
        finally:
            self._waiting.pop(token, None)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now, self._timer = loop.time(), None
        for end, future in self._waiting.values():
            if end > now:
                self._timer = loop.call_at(end, self._expire)
                return
            if not future.done():
                future.set_exception(TimeoutError(f"no answer from JetStream in {self._timeout:g} s"))

    async def receive(self, message: Msg) -> None:
        """Take an answer."""
        _, future = self._waiting.get(message.subject.rpartition(".")[2], (0.0, None))
        if future is None or future.done():
            return
        error = _read_refusal(message)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _read_refusal(message: Msg) -> StoreRefusedError | None:
    """Return why a message was not stored, or None if it was."""
    if message.headers and message.headers.get(Header.STATUS.value) == NO_RESPONDERS:
        return StoreRefusedError("no stream takes this subject")
    # {"stream":"inboxes","seq":7}: only what looks different is worth reading whole.
    if b'"seq":' in message.data and b'"error"' not in message.data:
        return None
    try:
        answer = json.loads(message.data)
        error = answer.get("error")
    except (ValueError, AttributeError):
        return StoreRefusedError("JetStream's answer is malformed")
    if not error:
        return None if "seq" in answer else StoreRefusedError("JetStream's answer is malformed")
    return StoreRefusedError(str(error.get("description") or error), error.get("err_code"))
