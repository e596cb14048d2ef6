"""The drafting agent: drafts with revisions, edits saved of themselves every `AUTO_SAVE_INTERVAL` seconds."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent_runtime.agent import Agent, AgentContext
from agent_runtime.answers import answer, read_object
from agent_runtime.configuration import read_settings
from agent_runtime.stores.database import DatabaseError
from agent_runtime.stores.redis_store import StoreError
from agent_runtime.work.entries import PermanentError
from agent_runtime.work.messages import Work
from agent_runtime.ymera.drafts import DraftBook
from agent_runtime.ymera.settings import YmeraSettings

LONGEST_NAME, LONGEST_CONTENT, LONGEST_LIST = 200, 1_000_000, 50


class Drafting(Agent):
    """Handles `create`, `edit`, `save` and `get`; the same over HTTP."""

    accepts_work = True
    health_subject = "drafting.health"
    work_concurrency = 32

    def __init__(self, context: AgentContext) -> None:
        super().__init__(context)
        self._settings = read_settings(YmeraSettings, context.environ)
        if context.database is None or context.store is None:
            raise ValueError("the drafting agent needs PostgreSQL and Redis")
        self._book = DraftBook(context.database, context.store)

    def routes(self) -> list[BaseRoute]:
        """Return the routes for drafts."""
        path = "/api/v1/drafts/{identifier}"
        return [
            Route("/api/v1/drafts", self._serve("create"), methods=["POST"]),
            Route(path, self._serve("get"), methods=["GET"]),
            Route(path, self._serve("edit"), methods=["PUT"]),
            Route(f"{path}/save", self._serve("save"), methods=["POST"]),
        ]

    async def start(self) -> None:
        """Begin to save edits."""
        self.context.spawn(self._save_edits(), "automatic saving")

    async def _save_edits(self) -> None:
        interval = self._settings.auto_save_interval
        while True:
            await asyncio.sleep(min(1.0, interval / 2))
            try:
                for identifier in await self._book.list_edited(interval):
                    revision = await self._book.save(identifier)
                    if revision is not None:
                        self.log.info("draft saved", extra={"draft": identifier, "revision": revision})
            except (StoreError, DatabaseError) as error:
                self.log.warning("edits wait to be saved: %s", error)

    async def handle(self, work: Work) -> dict[str, Any]:
        """Answer `create`, `edit`, `save` and `get`."""
        body = work.body
        kind = body.get("kind")
        if kind == "create":
            return await self._create(body)
        identifier = _read_identifier(body.get("draft_id"))
        match kind:
            case "edit":
                content, author = _read_text(body, "content", LONGEST_CONTENT), _read_text(body, "author", LONGEST_NAME)
                await self._book.edit(identifier, content, author)
                return {"draft_id": identifier, "saved": False}
            case "save":
                return {"draft_id": identifier, "saved": True, "revision": await self._book.save(identifier)}
            case "get":
                found = await self._book.find(identifier)
                if found is None:
                    raise PermanentError("there is no such draft")
                edit = await self._book.find_edit(identifier)
                return {**found, "unsaved": edit}
        raise PermanentError("kind must be one of create, edit, save, get")

    async def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        identifier = _read_identifier(body.get("draft_id", str(uuid.uuid4())))
        draft: dict[str, Any] = {key: _read_text(body, key, LONGEST_NAME) for key in ("title", "owner")}
        draft["content"] = _read_text({"content": "", **body}, "content", LONGEST_CONTENT)
        for key in ("tags", "collaborators"):
            values = body.get(key, [])
            if not isinstance(values, list) or len(values) > LONGEST_LIST:
                raise PermanentError(f"{key}: a list of at most {LONGEST_LIST} texts is needed")
            draft[key] = [_read_text({key: value}, key, LONGEST_NAME) for value in values]
        await self._book.create(identifier, draft)
        return {"draft_id": identifier, "revision": 1}

    def _serve(self, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            body = await read_object(request, LONGEST_CONTENT * 2) if request.method in ("POST", "PUT") else {}
            body |= {"kind": kind}
            if "identifier" in request.path_params:
                body["draft_id"] = request.path_params["identifier"]
            try:
                return answer(await self.handle(Work(self.context.name, body, "http", 0.0)))
            except PermanentError as error:
                raise HTTPException(404 if "no such" in str(error) else 422, str(error)) from None
            except (StoreError, DatabaseError) as error:
                raise HTTPException(503, str(error), {"Retry-After": "2"}) from None

        return serve


def _read_text(body: dict[str, Any], key: str, longest: int) -> str:
    value = body.get(key)
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        raise PermanentError(f"{key}: a text of at most {longest} characters is needed")
    return value


def _read_identifier(value: object) -> str:
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        raise PermanentError("draft_id must be a UUID") from None


create_agent = Drafting
