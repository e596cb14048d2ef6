"""The HTTP side of one agent: its own routes, health, readiness and metrics."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime import __version__
from agent_runtime.agent import Agent, set_current_agent
from agent_runtime.answers import answer, answer_error
from agent_runtime.logs import current_trace
from agent_runtime.metrics import CONTENT_TYPE, AgentMetrics
from agent_runtime.secret import redact
from agent_runtime.tracing import conventions, spans

log = logging.getLogger(__name__)

# What asks for them does so all the time, and nobody follows it.
UNTRACED = frozenset({"/health", "/ready", "/metrics"})
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
TRACE_PARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
REQUEST_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,64}")
Checks = Callable[[], dict[str, str]]


def find_trace(headers: dict[str, str]) -> str | None:
    """Return the trace identifier of a `traceparent` (W3C Trace Context) or an `X-Request-Id` header."""
    parent = TRACE_PARENT.fullmatch(headers.get("traceparent", ""))
    if parent:
        return parent[1]
    identifier = headers.get("x-request-id", "")
    return identifier if REQUEST_IDENTIFIER.fullmatch(identifier) else None


class Observation:
    """Counts and times requests, and names agent and trace in the log lines that they cause."""

    def __init__(self, app: ASGIApp, agent: str, metrics: AgentMetrics, paths: dict[Any, str]) -> None:
        self._app, self._agent, self._metrics, self._paths = app, agent, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        set_current_agent(self._agent)
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        current_trace.set(find_trace(headers))
        if spans.is_on() and scope["path"] not in UNTRACED:
            await self._trace(scope, receive, send, headers)
        else:
            await self._observe(scope, receive, send)

    async def _trace(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        with spans.span(method, "server", {conventions.METHOD: method}, headers) as span:
            status = await self._observe(scope, receive, send)
            route = self._paths.get(scope.get("endpoint"))
            if route is not None:
                span.rename(f"{method} {route}")
                span.set(conventions.ROUTE, route)
            span.set(conventions.STATUS, status)
            if status >= 500:
                span.fail(str(status))

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> int:
        started, status = time.monotonic(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            # The route's pattern, never the path itself: its variety is bounded.
            route = self._paths.get(scope.get("endpoint"), "(none)")
            method = scope["method"] if scope["method"] in METHODS else "(other)"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(time.monotonic() - started)
        return status


def build_app(agent: Agent, check_services: Checks) -> Starlette:
    """Return the application of one agent.

    Args:
        agent: whose routes it serves.
        check_services: returns the state of each thing the agent needs; "ok" is good, all else is not.
    """
    context = agent.context

    async def show_health(request: Request) -> Response:
        problems = agent.find_problems()
        content = {
            "status": "unhealthy" if problems else "ok",
            "agent": context.name,
            "version": __version__,
            **agent.describe(),
        }
        return answer({**content, "problems": problems} if problems else content, 503 if problems else 200)

    async def show_readiness(request: Request) -> Response:
        checks = check_services()
        ready = all(state == "ok" for state in checks.values())
        content = {"status": "ready" if ready else "not ready", "agent": context.name, "checks": checks}
        return answer(content, 200 if ready else 503)

    async def show_metrics(request: Request) -> Response:
        context.metrics.ready.set(all(state == "ok" for state in check_services().values()))
        return Response(context.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = {404: "there is nothing here", 405: "this method is not allowed here"}.get(error.status_code)
        response = answer_error(
            error.status_code,
            message if error.detail in ("Not Found", "Method Not Allowed") and message else error.detail,
        )
        response.headers.update(error.headers or {})
        return response

    async def report_failure(request: Request, error: Exception) -> Response:
        log.error("request failed", exc_info=error, extra={"path": request.url.path[:200]})
        details = {"exception": redact(f"{type(error).__name__}: {error}")} if context.settings.debug else {}
        return answer_error(500, "the request failed; the log says why", **details)

    routes = [
        Route("/health", show_health),
        Route("/ready", show_readiness),
        Route("/metrics", show_metrics),
        *agent.routes(),
    ]
    paths = {route.endpoint: route.path for route in routes if isinstance(route, Route)}
    return Starlette(
        routes=routes,
        middleware=[Middleware(Observation, agent=context.name, metrics=context.metrics, paths=paths)],
        exception_handlers={HTTPException: refuse, Exception: report_failure},
    )
