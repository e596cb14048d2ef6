"""The communication agent: takes messages from its queue, delivers them to inboxes, and keeps their history.

A message counts as accepted once JetStream has stored it. Its request is acknowledged after every recipient's inbox has
it and PostgreSQL has committed it, so that neither a killed process nor a restarted server loses it.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent_runtime.agent import Agent, AgentContext
from agent_runtime.answers import answer, read_object
from agent_runtime.bus.connection import Bus
from agent_runtime.bus.errors import BusError
from agent_runtime.bus.subjects import describe_inboxes, inbox_subject
from agent_runtime.configuration import read_settings
from agent_runtime.stores.database import DatabaseError
from agent_runtime.work.entries import PermanentError
from agent_runtime.work.messages import Work
from agent_runtime.work.requests import RequestError
from agent_runtime.ymera.messages import History, Message, read_message
from agent_runtime.ymera.settings import YmeraSettings


class Communication(Agent):
    """Handles `send` (a message) and `status` (of a message); the same over HTTP."""

    accepts_work = True
    health_subject = "communication.health"
    # Most of a message's time is spent waiting for NATS and PostgreSQL, whose work is done in batches.
    work_concurrency = 256

    def __init__(self, context: AgentContext) -> None:
        super().__init__(context)
        self._settings = read_settings(YmeraSettings, context.environ)
        if context.bus is None or context.database is None:
            raise ValueError("the communication agent needs NATS and PostgreSQL")
        self._bus: Bus = context.bus
        self._history = History(context.database)

    def routes(self) -> list[BaseRoute]:
        """Return the routes for messages."""
        return [
            Route("/api/v1/messages", self._take_message, methods=["POST"]),
            Route("/api/v1/messages/{identifier}", self._show_message),
        ]

    async def start(self) -> None:
        """Look the inboxes up; create them where nobody has."""
        await self._bus.find_stream(describe_inboxes(self._settings.message_queue_size))

    async def handle(self, work: Work) -> dict[str, Any]:
        """Carry a message, or say what became of one."""
        match work.body.get("kind"):
            case "send":
                message = read_message(work.body.get("message"))
                await self._deliver(message)
                await self._history.add(message.with_status("delivered"))
                return {"message_id": message.message_id, "status": "delivered"}
            case "status":
                found = await self._history.find(_read_identifier(work.body.get("message_id")))
                return {"status": found.status if found else "unknown"}
        raise PermanentError("kind must be one of send, status")

    async def give_up(self, work: Work, reason: str) -> None:
        """Keep a message that could not be delivered, as failed."""
        try:
            message = read_message(work.body.get("message"))
        except PermanentError:
            return
        await self._history.add(message.with_status("failed", reason=reason[:500]))

    async def _deliver(self, message: Message) -> None:
        payload = json.dumps(message.describe(), separators=(",", ":")).encode()
        if len(payload) > self._settings.max_message_size:
            raise PermanentError(f"the message is larger than {self._settings.max_message_size} bytes")
        # The identifier keeps a message that is carried again from coming twice.
        sent = [
            self._bus.store(inbox_subject(name), payload, f"{message.message_id}/{name}") for name in message.recipients
        ]
        if len(sent) == 1:
            await sent[0]
        else:
            await asyncio.gather(*sent)

    async def _take_message(self, request: Request) -> Response:
        content = await read_object(request, self._settings.max_message_size)
        content = {"message_id": str(uuid.uuid4()), "created_at": time.time(), **content}
        requests = self.context.requests
        assert requests is not None  # there is a bus
        try:
            message = read_message(content)
            await requests.submit(self.context.name, {"kind": "send", "message": content}, message.message_id)
        except PermanentError as error:
            raise HTTPException(422, str(error)) from None
        except (RequestError, BusError) as error:
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from None
        return answer({"message_id": message.message_id, "status": "pending"}, 202)

    async def _show_message(self, request: Request) -> Response:
        try:
            found = await self._history.find(_read_identifier(request.path_params["identifier"]))
        except PermanentError as error:
            raise HTTPException(400, str(error)) from None
        except DatabaseError:
            raise HTTPException(503, "the database does not answer", {"Retry-After": "2"}) from None
        if found is None:
            raise HTTPException(404, "no such message has been carried")
        return answer(found.describe())


def _read_identifier(value: object) -> str:
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        raise PermanentError("message_id must be a UUID") from None


create_agent = Communication
