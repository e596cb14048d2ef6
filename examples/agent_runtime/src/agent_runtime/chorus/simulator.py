"""The simulator: some 10 to 50 agents that meet, ask the predictor first, and report how it went."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

from agent_runtime.agent import Agent, AgentContext
from agent_runtime.chorus.settings import ChorusSettings
from agent_runtime.chorus.trust import CONFLICT, COOPERATION
from agent_runtime.configuration import read_settings
from agent_runtime.http_client import CallError, call
from agent_runtime.instance import Endpoint
from agent_runtime.logs import current_trace
from agent_runtime.stores.redis_store import StoreError
from agent_runtime.tracing import spans
from agent_runtime.work.messages import new_identifier
from agent_runtime.work.requests import ReplyTimeoutError, RequestError

# The predictor's name where the instance file lists no peers.
PREDICTOR = "predictor"
CROWD_SECONDS = 30.0
# One conflict costs as much as ten cooperations win: with these shares most agents keep a high score, a few lose it.
CONFLICT_SHARE, QUARRELSOME_SHARE = 0.05, 0.6
QUARRELSOME_EVERY = 10


class Simulator(Agent):
    """Runs the simulated agents."""

    def __init__(self, context: AgentContext) -> None:
        super().__init__(context)
        self._settings = read_settings(ChorusSettings, context.environ)
        own = Endpoint(self._settings.api_host, self._settings.api_host, self._settings.api_port)
        # Peers are called by the names that the manifest gives them, one after the other; without declared peers, the
        # one that the configuration names.
        peers = {name: found for name, found in context.instance.peers.items() if found} or {PREDICTOR: (own,)}
        self._predictors = itertools.cycle([endpoint for found in peers.values() for endpoint in found])
        self._names = itertools.cycle(peers)
        self._crowd: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Let the first agents in."""
        self.context.spawn(self._change_crowd(), "crowd")

    async def stop(self) -> None:
        """Send the agents away."""
        for task in self._crowd.values():
            task.cancel()
        await asyncio.gather(*self._crowd.values(), return_exceptions=True)

    async def _change_crowd(self) -> None:
        """Every 30 s, let agents come or go so that their number is somewhere between the bounds."""
        while True:
            wanted = random.randint(self._settings.agents_min, self._settings.agents_max)
            names = [f"agent-{number:03d}" for number in range(1, wanted + 1)]
            for name in self._crowd.keys() - set(names):
                self._crowd.pop(name).cancel()
            for name in names:
                if name not in self._crowd or self._crowd[name].done():
                    self._crowd[name] = asyncio.create_task(self._live(name), name=name)
            self.log.info("agents simulated", extra={"count": wanted})
            await asyncio.sleep(CROWD_SECONDS)

    async def _live(self, name: str) -> None:
        low, high = self._settings.agent_request_interval_min, self._settings.agent_request_interval_max
        while True:
            await asyncio.sleep(random.uniform(low, high))
            others = [other for other in self._crowd if other != name]
            if others:
                with spans.span("meet"):
                    await self._meet(name, random.choice(others))

    async def _meet(self, name: str, peer: str) -> None:
        identifier = new_identifier()
        if not spans.is_on():
            current_trace.set(identifier)
        try:
            if await self._ask(peer) == "avoid" and random.random() < 0.5:
                return
            number = int(name.rpartition("-")[2])
            share = QUARRELSOME_SHARE if number % QUARRELSOME_EVERY == 0 else CONFLICT_SHARE
            kind = CONFLICT if random.random() < share else COOPERATION
            body: dict[str, Any] = {"id": identifier, "agent": name, "peer": peer, "kind": kind}
            peer_tls = self.context.client_tls
            endpoint = next(self._predictors)
            status, _ = await call(endpoint, "POST", "/api/v1/interactions", body, trace=identifier, tls=peer_tls)
            if status not in (200, 201):
                self.log.warning("interaction refused", extra={"status": status})
        except (CallError, StoreError, RequestError, ReplyTimeoutError) as error:
            self.log.warning("interaction not reported: %s", error)

    async def _ask(self, peer: str) -> str:
        """Return the predictor's advice about a peer, asked through the queue."""
        if self.context.requests is None:
            return "proceed"
        outcome = await self.context.requests.request(next(self._names), {"kind": "assess", "agent": peer})
        return str(outcome.body.get("advice", "proceed"))


def create_agent(context: AgentContext) -> Agent:
    """Return a simulator."""
    return Simulator(context)
