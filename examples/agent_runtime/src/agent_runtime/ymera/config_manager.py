"""The config manager: one primary changes configurations, every replica reads them, the others stand by."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent_runtime.agent import Agent, AgentContext
from agent_runtime.answers import answer, read_object
from agent_runtime.bus.connection import Bus
from agent_runtime.bus.errors import BusError
from agent_runtime.bus.lease import Lease
from agent_runtime.configuration import read_settings
from agent_runtime.stores.database import DatabaseError
from agent_runtime.work.entries import PermanentError
from agent_runtime.work.messages import Work
from agent_runtime.ymera.configuration import LARGEST_BYTES, ConfigurationBook, ConfigurationReader, read_name
from agent_runtime.ymera.settings import YmeraSettings


class ConfigManager(Agent):
    """Handles `get` and `set`. Requests are taken by the primary alone; over HTTP every replica answers `get`."""

    accepts_work = True
    health_subject = "config.health"
    work_concurrency = 16

    def __init__(self, context: AgentContext) -> None:
        super().__init__(context)
        self._settings = read_settings(YmeraSettings, context.environ)
        if context.bus is None or context.database is None:
            raise ValueError("the config manager needs NATS and PostgreSQL")
        bus: Bus = context.bus
        buckets = context.buckets or bus
        self._book = ConfigurationBook(bus, context.database, buckets)
        self._reader = ConfigurationReader(bus, self._settings.config_cache_ttl, buckets)
        owner = f"{context.instance.host}/{context.instance.unit}/{context.entry.replica}"
        key = f"primary.{context.name}"
        self._lease = Lease(buckets, "discovery", key, owner, self._settings.primary_lease_seconds)

    def routes(self) -> list[BaseRoute]:
        """Return the routes for configurations."""
        return [
            Route("/api/v1/configurations/{agent}", self._show, methods=["GET"]),
            Route("/api/v1/configurations/{agent}", self._change, methods=["PUT"]),
        ]

    async def start(self) -> None:
        """Begin to listen for changes and to stand for primary."""
        await self._reader.start()
        with contextlib.suppress(BusError):
            await self._lease.take()
        self.context.spawn(self._stand(), "primary")

    async def stop(self) -> None:
        """Let another replica be primary at once."""
        with contextlib.suppress(BusError):
            await self._lease.release()

    def is_open(self) -> bool:
        """Only the primary takes requests."""
        return self._lease.held

    def describe(self) -> dict[str, Any]:
        """Say in the health answers who is primary."""
        return {"primary": self._lease.held, "holder": self._lease.holder}

    async def _stand(self) -> None:
        before = None
        while True:
            try:
                held = await self._lease.take()
            except BusError as error:
                held = self._lease.held
                self.log.warning("the lease cannot be asked for: %s", error)
            if held != before:
                self.log.info("primary" if held else "standing by", extra={"audit": True})
            before = held
            await asyncio.sleep(self._settings.primary_lease_seconds / 4)

    async def handle(self, work: Work) -> dict[str, Any]:
        """Answer `get` and `set`."""
        agent = read_name(work.body.get("agent"))
        match work.body.get("kind"):
            case "get":
                return await self._reader.find(agent)
            case "set":
                if not self._lease.held:
                    raise RuntimeError("no longer primary")
                return await self._set(agent, work.body.get("values"), str(work.body.get("changed_by", "unknown")))
        raise PermanentError("kind must be one of get, set")

    async def _set(self, agent: str, values: object, changed_by: str) -> dict[str, Any]:
        if not isinstance(values, dict) or len(json.dumps(values)) > LARGEST_BYTES or "\\u0000" in json.dumps(values):
            raise PermanentError(f"values: an object of at most {LARGEST_BYTES} bytes, no null character, is needed")
        version = await self._book.change(agent, values, changed_by[:100])
        self.log.info("configuration changed", extra={"audit": True, "subject": agent, "version": version})
        return {"agent": agent, "version": version}

    async def _show(self, request: Request) -> Response:
        try:
            return answer(await self._reader.find(read_name(request.path_params["agent"])))
        except PermanentError as error:
            raise HTTPException(400, str(error)) from None
        except BusError:
            raise HTTPException(503, "NATS does not answer", {"Retry-After": "2"}) from None

    async def _change(self, request: Request) -> Response:
        if not self._lease.held:
            raise HTTPException(409, f"this replica stands by; the primary is {self._lease.holder}")
        content = await read_object(request, LARGEST_BYTES * 2)
        try:
            agent = read_name(request.path_params["agent"])
            return answer(await self._set(agent, content.get("values"), str(content.get("changed_by", "http"))))
        except PermanentError as error:
            raise HTTPException(422, str(error)) from None
        except (BusError, DatabaseError) as error:
            raise HTTPException(503, str(error), {"Retry-After": "2"}) from None


create_agent = ConfigManager
