"""What becomes of one request: handled, tried again later, or set aside. Each step is one transaction."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from agent_runtime.logs import current_trace
from agent_runtime.metrics import AgentMetrics
from agent_runtime.settings import RuntimeSettings
from agent_runtime.stores.redis_store import Command, RedisStore, StoreError
from agent_runtime.tracing import conventions, spans
from agent_runtime.work.messages import GROUP, Keys, Outcome, Work, decode_work, flatten_fields

log = logging.getLogger(__name__)

Handler = Callable[[Work], Awaitable[dict[str, Any]]]
LONGEST_WAIT_SECONDS = 60.0
# Long enough for a requester to read its reply, short enough that those of ended processes go away.
REPLIES_SECONDS = 60
DEAD_KEPT = 10_000
STORE_TRIES = 5


class PermanentError(Exception):
    """Raised by a handler for a request that no further try can help."""


def compute_wait(tries: int, first: float) -> float:
    """Return the seconds to wait after the given number of failed tries: doubled each time, with 20 % of chance."""
    return float(min(LONGEST_WAIT_SECONDS, first * 2 ** (tries - 1)) * random.uniform(0.8, 1.2))


class EntryHandler:
    """Takes entries of one agent's stream to their end."""

    def __init__(
        self,
        agent: str,
        handler: Handler,
        store: RedisStore,
        settings: RuntimeSettings,
        metrics: AgentMetrics,
    ) -> None:
        self._agent = agent
        self._handler = handler
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._keys = Keys(store, agent)

    async def handle(self, entry: str, fields: dict[str, str], deliveries: int) -> None:
        """Handle an entry. If Redis fails meanwhile it stays pending, and someone takes it over later.

        Args:
            entry: the entry's identifier in the stream.
            fields: its content.
            deliveries: how often workers got it before and did not end it.
        """
        try:
            try:
                work = decode_work(self._agent, fields)
            except ValueError as error:
                await self._set_aside(entry, fields, None, f"malformed: {error}")
                return
            current_trace.set(work.trace or None)
            if await self._store.run("EXISTS", self._keys.result(work.identifier)):
                await self._skip(entry, work)
            elif deliveries >= self._settings.work_tries:
                await self._set_aside(entry, fields, work, f"its worker ended {deliveries} times")
            else:
                known = conventions.describe_request(self._agent, work.identifier, "redis", self._keys.stream())
                name = f"{conventions.INVOKE_AGENT} {self._agent}"
                with spans.span(name, "consumer", known, work.carrier) as span:
                    await self._try(entry, work, span)
        except StoreError as error:
            log.warning("request stays pending: %s", error, extra={"entry": entry})

    async def _try(self, entry: str, work: Work, span: spans.Span) -> None:
        started = time.monotonic()
        self._metrics.work_in_flight.inc()
        try:
            async with asyncio.timeout(self._settings.work_timeout):
                body = await self._handler(work)
            outcome = Outcome(True, body)
            text = outcome.encode()
        except PermanentError as error:
            span.fail(type(error).__name__, str(error))
            self._metrics.work.labels("failed").inc()
            await self._set_aside(entry, work.encode(), work, str(error))
            return
        except Exception as error:  # a handler may fail in any way; the request must survive all of them
            span.fail(type(error).__name__, str(error))
            self._metrics.work.labels("failed").inc()
            reason = f"{type(error).__name__}: {error}"[:500]
            log.warning("request failed: %s", reason, extra={"request": work.identifier, "tries": work.tries + 1})
            await self._fail(entry, work.try_again(), reason)
            return
        finally:
            self._metrics.work_in_flight.dec()
            self._metrics.work_seconds.observe(time.monotonic() - started)
        await self._end(entry, work, text)
        self._metrics.work.labels("processed").inc()

    async def _fail(self, entry: str, work: Work, reason: str) -> None:
        if work.tries >= self._settings.work_tries:
            await self._set_aside(entry, work.encode(), work, reason)
            return
        due = time.time() + compute_wait(work.tries, self._settings.work_retry_seconds)
        member = json.dumps(work.encode(), separators=(",", ":"))
        await self._commit([("ZADD", self._keys.retries(), repr(due), member), *self._remove(entry)])
        self._metrics.work.labels("retried").inc()

    async def _end(self, entry: str, work: Work, outcome: str) -> None:
        key, seconds = self._keys.result(work.identifier), self._settings.result_seconds
        # NX: when two workers handled the same request, the first result is the one that stays.
        commands: list[Command] = [("SET", key, outcome, "NX", "EX", seconds)]
        await self._commit([*commands, *self._tell(work), *self._remove(entry)])

    async def _skip(self, entry: str, work: Work) -> None:
        await self._commit([*self._tell(work), *self._remove(entry)])
        self._metrics.work.labels("duplicate").inc()

    async def _set_aside(self, entry: str, fields: dict[str, str], work: Work | None, reason: str) -> None:
        content = flatten_fields({**fields, "reason": reason, "time": repr(time.time())})
        commands: list[Command] = [("XADD", self._keys.dead(), "MAXLEN", "~", DEAD_KEPT, "*", *content)]
        if work is not None:
            outcome = Outcome(False, {}, reason).encode()
            key = self._keys.result(work.identifier)
            commands += [("SET", key, outcome, "NX", "EX", self._settings.result_seconds), *self._tell(work)]
        await self._commit([*commands, *self._remove(entry)])
        self._metrics.work.labels("dead").inc()
        log.error("request set aside: %s", reason, extra={"entry": entry})

    def _tell(self, work: Work) -> list[Command]:
        if not work.requester:
            return []
        key = self._keys.replies(work.requester)
        return [("RPUSH", key, work.identifier), ("EXPIRE", key, REPLIES_SECONDS)]

    def _remove(self, entry: str) -> list[Command]:
        stream = self._keys.stream()
        return [("XACK", stream, GROUP, entry), ("XDEL", stream, entry)]

    async def _commit(self, commands: list[Command]) -> None:
        # Every transaction here may run twice without harm, so a short failure of Redis need not cost a new try.
        for attempt in range(STORE_TRIES):
            try:
                await self._store.run_together(commands)
                return
            except StoreError:
                if attempt == STORE_TRIES - 1:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
