"""The requesting side: hand work to another agent, and wait for its reply."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from contextlib import AbstractContextManager
from typing import Any, Protocol

from agent_runtime.logs import current_trace
from agent_runtime.stores.redis_store import LONGEST_BLOCK_SECONDS, RedisStore, StoreError
from agent_runtime.tracing import conventions, spans
from agent_runtime.work.messages import (
    IDENTIFIER_PATTERN,
    LARGEST_BODY_BYTES,
    NAME_PATTERN,
    Keys,
    Outcome,
    Work,
    decode_outcome,
    flatten_fields,
    new_identifier,
)

log = logging.getLogger(__name__)


class RequestError(Exception):
    """The request was not accepted."""


class ReplyTimeoutError(Exception):
    """No reply in time. The request is stored and will still be handled."""


class Requests(Protocol):
    """How agents ask each other, over Redis or over NATS."""

    async def submit(self, agent: str, body: dict[str, Any], identifier: str | None = None) -> str:
        """Store a request and return its identifier."""

    async def request(
        self, agent: str, body: dict[str, Any], *, timeout: float = 10.0, identifier: str | None = None
    ) -> Outcome:
        """Store a request and wait for its outcome."""

    async def find_outcome(self, agent: str, identifier: str) -> Outcome | None:
        """Return how a request ended, where that is kept."""

    async def close(self) -> None:
        """Stop reading replies."""


class RequestClient:
    """Hands requests to other agents. One per process: replies arrive on one list (in a cluster, one per agent)."""

    def __init__(self, store: RedisStore, backlog: int) -> None:
        self._store = store
        self._backlog = backlog
        self._name = new_identifier()
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}

    async def submit(self, agent: str, body: dict[str, Any], identifier: str | None = None) -> str:
        """Store a request and return its identifier. Once this returns, it is acknowledged: it will be handled.

        A request may be submitted again with the same identifier; it is answered once.

        Raises:
            RequestError: the name, identifier or size is not allowed, or too many requests wait already.
            StoreError: Redis did not answer; the request may or may not be stored.
        """
        identifier = identifier or new_identifier()
        with self._span(agent, identifier):
            return await self._store_work(agent, body, identifier, requester="")

    async def request(
        self, agent: str, body: dict[str, Any], *, timeout: float = 10.0, identifier: str | None = None
    ) -> Outcome:
        """Store a request and wait for its outcome, for `timeout` seconds at most.

        Raises:
            RequestError, StoreError: as `submit`.
            ReplyTimeoutError: no outcome in time.
        """
        identifier = identifier or new_identifier()
        with self._span(agent, identifier) as span:
            outcome = await self._request(agent, body, timeout, identifier)
            if not outcome.done:
                span.fail("refused", outcome.error)
            return outcome

    def _span(self, agent: str, identifier: str) -> AbstractContextManager[spans.Span]:
        known = conventions.describe_request(agent, identifier, "redis", Keys(self._store, agent).stream())
        return spans.span(f"{conventions.INVOKE_AGENT} {agent}", "client", known)

    async def _request(self, agent: str, body: dict[str, Any], timeout: float, identifier: str) -> Outcome:
        replies = Keys(self._store, agent).replies(self._name)
        if replies not in self._readers:
            self._readers[replies] = asyncio.create_task(self._read_replies(agent, replies), name="replies")
        future = self._waiting.setdefault(identifier, asyncio.get_running_loop().create_future())
        try:
            await self._store_work(agent, body, identifier, requester=self._name)
            async with asyncio.timeout(timeout):
                return await asyncio.shield(future)
        except TimeoutError:
            # The notice of the reply may be lost with a failing Redis; the result itself is what counts.
            outcome = None
            with contextlib.suppress(StoreError):
                outcome = await self.find_outcome(agent, identifier)
            if outcome is None:
                raise ReplyTimeoutError(f"{agent} has not answered {identifier} in {timeout:g} s") from None
            return outcome
        finally:
            self._waiting.pop(identifier, None)

    async def find_outcome(self, agent: str, identifier: str) -> Outcome | None:
        """Return how a request to an agent ended, or None while it has not."""
        text = await self._store.run("GET", Keys(self._store, agent).result(identifier))
        return decode_outcome(text) if text else None

    async def close(self) -> None:
        """Stop reading replies."""
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)

    async def _store_work(self, agent: str, body: dict[str, Any], identifier: str, requester: str) -> str:
        if not NAME_PATTERN.fullmatch(agent):
            raise RequestError("the agent's name is malformed")
        if not IDENTIFIER_PATTERN.fullmatch(identifier):
            raise RequestError("the request's identifier is malformed")
        if len(json.dumps(body)) > LARGEST_BODY_BYTES:
            raise RequestError(f"the request is larger than {LARGEST_BODY_BYTES} bytes")
        stream = Keys(self._store, agent).stream()
        # Not exact with many requesters at once; it only has to keep the memory bounded.
        if await self._store.run("XLEN", stream) >= self._backlog:
            raise RequestError(f"{agent} has {self._backlog} requests waiting")
        work = Work(agent, body, identifier, time.time(), requester, current_trace.get() or "", carrier=spans.carry())
        await self._store.run("XADD", stream, "*", *flatten_fields(work.encode()))
        return identifier

    async def _read_replies(self, agent: str, replies: str) -> None:
        wait = 0.1
        while True:
            try:
                found = await self._store.run_waiting("BLPOP", replies, LONGEST_BLOCK_SECONDS)
                identifier = found[1] if found else ""
                future = self._waiting.get(identifier)
                if future is not None and not future.done():
                    outcome = await self.find_outcome(agent, identifier)
                    if outcome is not None and not future.done():
                        future.set_result(outcome)
                wait = 0.1
            except StoreError as error:
                log.warning("replies cannot be read: %s", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)
