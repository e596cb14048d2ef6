"""The requesting side over NATS: hand work to another agent, and wait for its reply."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AbstractContextManager
from typing import Any

from nats.aio.msg import Msg

from agent_runtime.breaker import CircuitBreakers, CircuitOpenError
from agent_runtime.bus.connection import Bus
from agent_runtime.bus.errors import BusError, BusFullError
from agent_runtime.bus.subjects import request_subject
from agent_runtime.logs import current_trace
from agent_runtime.tracing import conventions, spans
from agent_runtime.work.messages import (
    IDENTIFIER_PATTERN,
    NAME_PATTERN,
    Outcome,
    Work,
    decode_outcome,
    new_identifier,
)
from agent_runtime.work.requests import ReplyTimeoutError, RequestError

STORE_TRIES = 5
FIRST_WAIT_SECONDS = 0.1


class BusRequestClient:
    """Hands requests to other agents. One per process: all replies arrive on one subject."""

    def __init__(self, bus: Bus, breakers: CircuitBreakers, largest_bytes: int) -> None:
        self._bus, self._breakers, self._largest = bus, breakers, largest_bytes
        self._replies = f"{bus.replies}.{new_identifier()}"
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._subscribing: asyncio.Task[None] | None = None

    async def submit(self, agent: str, body: dict[str, Any], identifier: str | None = None) -> str:
        """Store a request and return its identifier. Once this returns, it is acknowledged: it will be handled.

        A request may be submitted again with the same identifier; within two minutes it counts once.

        Raises:
            RequestError: the name, identifier or size is not allowed, too many wait already, or the circuit is open.
            BusError: NATS has not confirmed it in five tries; the request may or may not be stored.
        """
        identifier = identifier or new_identifier()
        with self._span(agent, identifier):
            await self._store(agent, body, identifier, "")
        return identifier

    async def request(
        self, agent: str, body: dict[str, Any], *, timeout: float = 10.0, identifier: str | None = None
    ) -> Outcome:
        """Store a request and wait for its outcome, for `timeout` seconds at most.

        Raises:
            RequestError, BusError: as `submit`.
            ReplyTimeoutError: no outcome in time. The request is stored and will still be handled.
        """
        identifier = identifier or new_identifier()
        with self._span(agent, identifier) as span:
            outcome = await self._request(agent, body, timeout, identifier)
            if not outcome.done:
                span.fail("refused", outcome.error)
            return outcome

    def _span(self, agent: str, identifier: str) -> AbstractContextManager[spans.Span]:
        known = conventions.describe_request(agent, identifier, "nats", request_subject(agent))
        return spans.span(f"{conventions.INVOKE_AGENT} {agent}", "client", known)

    async def _request(self, agent: str, body: dict[str, Any], timeout: float, identifier: str) -> Outcome:
        if self._subscribing is None:
            self._subscribing = asyncio.create_task(self._bus.subscribe(f"{self._replies}.*", self._receive))
        await self._subscribing
        token = new_identifier()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        try:
            try:
                with self._breakers.find(agent).watch(ReplyTimeoutError, BusError):
                    await self._store(agent, body, identifier, f"{self._replies}.{token}")
                    try:
                        async with asyncio.timeout(timeout):
                            return await future
                    except TimeoutError:
                        text = f"{agent} has not answered {identifier} in {timeout:g} s"
                        raise ReplyTimeoutError(text) from None
            except CircuitOpenError as error:
                raise RequestError(str(error)) from None
        finally:
            self._waiting.pop(token, None)

    async def find_outcome(self, agent: str, identifier: str) -> Outcome | None:
        """None: over NATS an outcome is only sent; what an agent did is in its own tables."""
        return None

    async def close(self) -> None:
        """Nothing to end: the connection belongs to the process."""

    async def _receive(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(decode_outcome(message.data.decode()))

    async def _store(self, agent: str, body: dict[str, Any], identifier: str, replies: str) -> None:
        if not NAME_PATTERN.fullmatch(agent) or "." in agent:
            raise RequestError("the agent's name is malformed")
        if not IDENTIFIER_PATTERN.fullmatch(identifier):
            raise RequestError("the request's identifier is malformed")
        work = Work(agent, body, identifier, time.time(), replies, current_trace.get() or "")
        payload = json.dumps(work.describe(), separators=(",", ":")).encode()
        if len(payload) > self._largest:
            raise RequestError(f"the request is larger than {self._largest} bytes")
        wait = FIRST_WAIT_SECONDS
        for attempt in range(STORE_TRIES):
            try:
                # The identifier makes a second try harmless.
                await self._bus.store(request_subject(agent), payload, identifier)
                return
            except BusFullError:
                raise RequestError(f"{agent} has too many requests waiting") from None
            except BusError:
                if attempt == STORE_TRIES - 1:
                    raise
            await asyncio.sleep(wait)
            wait *= 2
