"""The predictor: the API, the trust bookkeeping and, on one replica at a time, the predictions."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from agent_runtime.agent import Agent, AgentContext
from agent_runtime.chorus.api import Api, read_interaction
from agent_runtime.chorus.prediction import Forecast, compute_risk
from agent_runtime.chorus.settings import ChorusSettings
from agent_runtime.chorus.trust import TooManyAgentsError, TrustBook
from agent_runtime.configuration import read_settings
from agent_runtime.stores.redis_store import StoreError
from agent_runtime.work.entries import PermanentError
from agent_runtime.work.messages import NAME_PATTERN, Work


class Predictor(Agent):
    """Answers over HTTP, and requests `echo`, `assess` and `interaction` from other agents."""

    accepts_work = True

    def __init__(self, context: AgentContext) -> None:
        super().__init__(context)
        self._settings = settings = read_settings(ChorusSettings, context.environ)
        if context.store is None:
            raise ValueError("the predictor needs Redis")
        self._store = context.store
        self._book = TrustBook(context.store, settings)
        owner = f"{context.instance.host}/{context.name}/{context.entry.replica}"
        self._forecast = Forecast(context.store, self._book, settings, owner)
        self._failures = 0
        self._api = Api(context, settings, self._book, self._forecast, self._find_ills)

    def routes(self) -> list[BaseRoute]:
        """Return the API's routes."""
        return self._api.routes()

    async def start(self) -> None:
        """Begin to predict and to check."""
        self.context.spawn(self._predict(), "predictions")
        if self._settings.health_check_enabled:
            self.context.spawn(self._check(), "health check")

    async def stop(self) -> None:
        """Let another replica predict at once."""
        with contextlib.suppress(StoreError):
            await self._forecast.lease.release()

    async def handle(self, work: Work) -> dict[str, Any]:
        """Answer `assess` (risk and standing of an agent), `interaction` (as posted) and `echo`."""
        body = dict(work.body)
        match body.pop("kind", None):
            case "echo":
                return {"echo": work.body}
            case "assess":
                return await self._assess(body.get("agent"))
            case "interaction":
                try:
                    posted = body.get("interaction")
                    content = {"id": work.identifier, **(posted if isinstance(posted, dict) else {})}
                    standings, repeated = await self._book.record(read_interaction(content))
                except (HTTPException, TooManyAgentsError) as error:
                    raise PermanentError(getattr(error, "detail", str(error))) from None
                return {"repeated": repeated, "scores": {trust.agent: trust.score for trust in standings}}
        raise PermanentError("kind must be one of echo, assess, interaction")

    async def _assess(self, name: object) -> dict[str, Any]:
        if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
            raise PermanentError("agent must be an agent's name")
        trust = await self._book.find(name)
        window = (await self._book.list_windows([name]))[0]
        risk = compute_risk(window)
        trusted = trust is None or trust.trusted
        advice = "avoid" if not trusted or risk >= self._settings.risk_threshold else "proceed"
        return {"agent": name, "known": trust is not None, "trusted": trusted, "risk": risk, "advice": advice}

    async def _predict(self) -> None:
        while True:
            try:
                if await self._forecast.lease.take():
                    await self._forecast.predict()
            except StoreError as error:
                self.log.warning("no prediction: %s", error)
            await asyncio.sleep(self._settings.prediction_interval)

    async def _check(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._settings.health_check_timeout):
                    await self._store.check()
                self._failures = 0
            except (StoreError, TimeoutError):
                self._failures += 1
                self.log.warning("health check failed", extra={"failures": self._failures})
            await asyncio.sleep(self._settings.health_check_interval)

    def _find_ills(self) -> list[str]:
        failed = self._failures >= self._settings.health_check_failures
        return [*self.find_problems(), *(["Redis does not answer"] if failed else [])]


def create_agent(context: AgentContext) -> Agent:
    """Return a predictor."""
    return Predictor(context)
