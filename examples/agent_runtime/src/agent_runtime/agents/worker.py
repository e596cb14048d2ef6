"""A general agent: it answers requests with a little configurable work, and may send requests to peers itself.

Settings (environment): WORKER_SECONDS, WORKER_FAILURE_SHARE, WORKER_TARGETS, WORKER_INTERVAL.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent_runtime.agent import Agent, AgentContext
from agent_runtime.answers import answer, read_object
from agent_runtime.configuration import read_settings
from agent_runtime.options import option
from agent_runtime.stores.redis_store import StoreError
from agent_runtime.work.entries import PermanentError
from agent_runtime.work.messages import NAME_PATTERN, Work
from agent_runtime.work.requests import ReplyTimeoutError, RequestError

LONGEST_SECONDS = 60.0
MOST_STATIONS = 10


@dataclass(frozen=True)
class WorkerSettings:
    """How much a worker does, and whom it asks."""

    worker_seconds: float = option("Seconds one request takes.", default=0.0, minimum=0, maximum=LONGEST_SECONDS)
    worker_failure_share: float = option("Share of tries that fail.", default=0.0, minimum=0, maximum=1)
    worker_targets: tuple[str, ...] = option(
        "Agents that it sends requests to.", default=(), maximum=100, pattern=NAME_PATTERN.pattern
    )
    worker_interval: float = option("Seconds between its requests.", default=1.0, minimum=0.01, maximum=3600)


class Worker(Agent):
    """Echoes what it is asked."""

    accepts_work = True

    def __init__(self, context: AgentContext) -> None:
        super().__init__(context)
        self._settings = read_settings(WorkerSettings, context.environ)

    def routes(self) -> list[BaseRoute]:
        """Offer the same work over HTTP."""
        return [Route("/api/v1/echo", self._answer_echo, methods=["POST"])]

    async def start(self) -> None:
        """Begin to send requests, if there are targets."""
        for target in self._settings.worker_targets:
            self.context.spawn(self._ask(target), f"requests to {target}")

    async def handle(self, work: Work) -> dict[str, Any]:
        """Wait as configured, or as the request's `seconds` say, and return the request.

        A request with `via`, a list of agents, is handed on to the first of them with the rest of the list; the answer
        then holds that agent's.
        """
        seconds = work.body.get("seconds", self._settings.worker_seconds)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_SECONDS:
            raise PermanentError(f"seconds must be a number from 0 to {LONGEST_SECONDS:g}")
        await asyncio.sleep(seconds)
        if random.random() < self._settings.worker_failure_share:
            raise RuntimeError("this try fails on purpose (WORKER_FAILURE_SHARE)")
        content = {"echo": work.body, "agent": self.context.name, "replica": self.context.entry.replica}
        stations = work.body.get("via") or []
        return {**content, "next": await self._hand_on(work.body, stations)} if stations else content

    async def _hand_on(self, body: dict[str, Any], stations: Any) -> dict[str, Any]:
        allowed = isinstance(stations, list) and len(stations) <= MOST_STATIONS
        if not allowed or not all(isinstance(one, str) and NAME_PATTERN.fullmatch(one) for one in stations):
            raise PermanentError(f"via must be a list of at most {MOST_STATIONS} agents")
        requests = self.context.requests
        assert requests is not None  # the launcher refuses agents that take work without Redis or NATS
        outcome = await requests.request(stations[0], {**body, "via": stations[1:]})
        if not outcome.done:
            raise PermanentError(f"{stations[0]}: {outcome.error}")
        return outcome.body

    async def _answer_echo(self, request: Request) -> Response:
        work = Work(self.context.name, await read_object(request), "http", 0.0)
        try:
            return answer(await self.handle(work))
        except PermanentError as error:
            raise HTTPException(400, str(error)) from None

    async def _ask(self, target: str) -> None:
        requests = self.context.requests
        assert requests is not None  # the launcher refuses agents that take work without Redis
        number = 0
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * self._settings.worker_interval)
            number += 1
            try:
                outcome = await requests.request(target, {"kind": "echo", "number": number})
                if not outcome.done:
                    self.log.warning("request refused: %s", outcome.error, extra={"peer": target})
            except (RequestError, ReplyTimeoutError, StoreError) as error:
                self.log.warning("request not answered: %s", error, extra={"peer": target})


def create_agent(context: AgentContext) -> Agent:
    """Return a worker."""
    return Worker(context)
