"""The predictor's HTTP interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent_runtime.agent import AgentContext
from agent_runtime.answers import answer, answer_error, read_number, read_object
from agent_runtime.chorus.prediction import PREDICTIONS_KEPT, Forecast
from agent_runtime.chorus.settings import ChorusSettings
from agent_runtime.chorus.trust import KINDS, LARGEST_AGENTS, Interaction, TooManyAgentsError, TrustBook
from agent_runtime.stores.redis_store import StoreError
from agent_runtime.work.messages import IDENTIFIER_PATTERN, NAME_PATTERN, new_identifier, pair_fields

Endpoint = Callable[[Request], Awaitable[Response]]
PAGE = 100
# With 3 ms for one interaction, the last of these waits 0.2 s: more would only wait in vain.
LARGEST_WAITING = 64


def read_interaction(content: dict[str, Any]) -> Interaction:
    """Check the body of a posted interaction.

    Raises:
        HTTPException: 422, with every problem found.
    """
    problems = [f"{key}: unknown" for key in sorted(content.keys() - {"id", "agent", "peer", "kind"})[:10]]
    for key in ("agent", "peer"):
        if not isinstance(content.get(key), str) or not NAME_PATTERN.fullmatch(content[key]):
            problems.append(
                f"{key}: 1 to 64 letters, digits, dots, dashes or underscores, beginning with one of the first two"
            )
    if content.get("kind") not in KINDS:
        problems.append("kind: one of " + ", ".join(KINDS))
    identifier = content.get("id", "none")
    if not isinstance(identifier, str) or not IDENTIFIER_PATTERN.fullmatch(identifier):
        problems.append("id: 1 to 128 letters, digits, dots, dashes, colons or underscores")
    if not problems and content["agent"] == content["peer"]:
        problems.append("peer: another agent than agent")
    if problems:
        raise HTTPException(422, "; ".join(problems))
    return Interaction(str(content.get("id") or new_identifier()), content["agent"], content["peer"], content["kind"])


class Api:
    """Endpoints under /api/v1."""

    def __init__(
        self,
        context: AgentContext,
        settings: ChorusSettings,
        book: TrustBook,
        forecast: Forecast,
        find_ills: Callable[[], list[str]],
    ) -> None:
        self._context, self._settings = context, settings
        self._book, self._forecast, self._find_ills = book, forecast, find_ills
        self._waiting = 0

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        endpoints: list[tuple[str, str, Endpoint]] = [
            ("GET", "/api/v1/system/health", self.show_health),
            ("GET", "/api/v1/system/status", self.show_status),
            ("GET", "/api/v1/agents", self.list_agents),
            ("GET", "/api/v1/agents/{name}", self.show_agent),
            ("GET", "/api/v1/predictions", self.list_predictions),
            ("GET", "/api/v1/interactions", self.list_interactions),
            ("POST", "/api/v1/interactions", self.add_interaction),
        ]
        return _make_routes(endpoints)

    async def show_health(self, request: Request) -> Response:
        """200 while the services answer, else 503; never an answer from Redis itself, so that it is quick."""
        ills = self._find_ills()
        return answer({"status": "degraded" if ills else "healthy", "problems": ills}, 503 if ills else 200)

    async def show_status(self, request: Request) -> Response:
        """Figures for the dashboard."""
        standings = await self._book.list_all()
        latest = await self._forecast.read_latest()
        threshold = self._settings.risk_threshold
        count = len(standings)
        return answer(
            {
                "status": "degraded" if self._find_ills() else "healthy",
                "environment": self._settings.environment,
                "replica": self._context.entry.replica,
                "leader": await self._forecast.lease.find_owner(),
                "agents": count,
                "untrusted": sum(not trust.trusted for trust in standings),
                "at_risk": sum(item["risk"] >= threshold for item in latest["risks"]),
                "conflicts": sum(trust.conflicts for trust in standings) // 2,
                "cooperations": sum(trust.cooperations for trust in standings) // 2,
                "average_score": round(sum(trust.score for trust in standings) / count, 2) if count else None,
                "predicted": latest["time"],
                "settings": {
                    "trust_initial": self._settings.trust_initial,
                    "trust_threshold": self._settings.trust_threshold,
                    "risk_threshold": threshold,
                    "prediction_interval": self._settings.prediction_interval,
                    "analysis_window": self._settings.analysis_window,
                },
            }
        )

    async def list_agents(self, request: Request) -> Response:
        """A page of agents by name."""
        limit = read_number(request, "limit", PAGE, LARGEST_AGENTS)
        offset = read_number(request, "offset", 0, LARGEST_AGENTS)
        standings = await self._book.list_all()
        page = [trust.describe() for trust in standings[offset : offset + limit]]
        return answer({"total": len(standings), "offset": offset, "agents": page})

    async def show_agent(self, request: Request) -> Response:
        """One agent."""
        name = request.path_params["name"]
        trust = await self._book.find(name) if NAME_PATTERN.fullmatch(name) else None
        if trust is None:
            raise HTTPException(404, "there is no such agent")
        return answer(trust.describe())

    async def list_predictions(self, request: Request) -> Response:
        """The newest risks of all agents, and the last predictions that reached the threshold."""
        limit = read_number(request, "limit", 20, PREDICTIONS_KEPT)
        latest = await self._forecast.read_latest()
        recent = await self._forecast.list_recent(limit)
        return answer({"threshold": self._settings.risk_threshold, "latest": latest, "recent": recent})

    async def list_interactions(self, request: Request) -> Response:
        """The newest interactions."""
        entries = await self._book.list_recent(max(1, read_number(request, "limit", 20, PAGE)))
        return answer({"interactions": [pair_fields(fields) for _, fields in entries]})

    async def add_interaction(self, request: Request) -> Response:
        """Count an interaction; the same identifier counts once. 503 at once when too many wait already."""
        interaction = read_interaction(await read_object(request))
        if self._waiting >= LARGEST_WAITING:
            raise HTTPException(503, "too many interactions wait; try again later", {"Retry-After": "1"})
        self._waiting += 1
        try:
            standings, repeated = await self._book.record(interaction)
        except TooManyAgentsError as error:
            raise HTTPException(409, str(error)) from None
        finally:
            self._waiting -= 1
        scores = {trust.agent: trust.score for trust in standings}
        content = {"id": interaction.identifier, "repeated": repeated, "scores": scores}
        return answer(content, 200 if repeated else 201)


def _make_routes(endpoints: list[tuple[str, str, Endpoint]]) -> list[BaseRoute]:
    return [Route(path, _survive_store(endpoint), methods=[method]) for method, path, endpoint in endpoints]


def _survive_store(endpoint: Endpoint) -> Endpoint:
    async def call(request: Request) -> Response:
        try:
            return await endpoint(request)
        except StoreError:
            response = answer_error(503, "the store does not answer; try again later")
            response.headers["Retry-After"] = "2"
            return response

    return call
