"""Drafts and their revisions in PostgreSQL; edits that are not saved yet in Redis, where every replica sees them."""

from __future__ import annotations

import json
import time
from typing import Any

from agent_runtime.stores.database import Database
from agent_runtime.stores.redis_store import RedisStore

CREATE = """
INSERT INTO drafts (draft_id, title, content, owner, tags, collaborators)
VALUES ($1::text::uuid, $2, $3, $4, $5::text::jsonb, $6::text::jsonb) ON CONFLICT (draft_id) DO NOTHING
"""
# The revision grows only when the content differs, so that saving twice keeps one.
SAVE = """
UPDATE drafts SET content = $2, revision = revision + 1, updated_at = now()
WHERE draft_id = $1::text::uuid AND content <> $2 RETURNING revision
"""
REVISION = """
INSERT INTO draft_revisions (draft_id, revision, content, author)
VALUES ($1::text::uuid, $2::text::integer, $3, $4) ON CONFLICT DO NOTHING
"""
FIND = """
SELECT draft_id::text, title, content, owner, status, revision, tags::text, collaborators::text,
       extract(epoch FROM updated_at)::double precision AS updated_at
FROM drafts WHERE draft_id = $1::text::uuid
"""
LIST = """
SELECT revision, author, content, extract(epoch FROM created_at)::double precision AS created_at
FROM draft_revisions WHERE draft_id = $1::text::uuid ORDER BY revision DESC LIMIT 100
"""


class DraftBook:
    """Reads and changes drafts."""

    def __init__(self, database: Database, store: RedisStore) -> None:
        self._database, self._store = database, store
        self._prefix = f"{store.prefix}{store.scope('drafts')}"
        self._edited = f"{self._prefix}edited"

    def _key(self, identifier: str) -> str:
        return f"{self._prefix}draft:{identifier}"

    async def create(self, identifier: str, draft: dict[str, Any]) -> None:
        """Create a draft with its first revision; the same identifier counts once. Raises DatabaseError."""
        lists = [json.dumps(draft[key]) for key in ("tags", "collaborators")]

        async def write(connection: Any) -> None:
            await connection.execute(CREATE, identifier, draft["title"], draft["content"], draft["owner"], *lists)
            await connection.execute(REVISION, identifier, "1", draft["content"], draft["owner"])

        await self._database.run_repeatedly(write)

    async def edit(self, identifier: str, content: str, author: str) -> None:
        """Keep an edit until it is saved. Raises StoreError."""
        edit = json.dumps({"content": content, "author": author})
        await self._store.run_together(
            [("SET", self._key(identifier), edit), ("ZADD", self._edited, "NX", repr(time.time()), identifier)]
        )

    async def find_edit(self, identifier: str) -> dict[str, str] | None:
        """Return the content and author of an edit that is not saved yet. Raises StoreError."""
        text = await self._store.run("GET", self._key(identifier))
        return json.loads(text) if text else None

    async def list_edited(self, older_than: float) -> list[str]:
        """Return the drafts whose first unsaved edit is at least `older_than` seconds old. Raises StoreError."""
        limit = repr(time.time() - older_than)
        found: list[str] = await self._store.run("ZRANGEBYSCORE", self._edited, "-inf", limit, "LIMIT", 0, 100)
        return found

    async def save(self, identifier: str) -> int | None:
        """Make the edit the newest revision and return its number, or None if there was nothing new.

        Replicas may save at once: the row is locked, and an edit that came meanwhile stays for the next time.

        Raises:
            StoreError, DatabaseError: nothing is lost; save again.
        """
        text = await self._store.run("GET", self._key(identifier))
        revision: int | None = None
        if text:
            edit = json.loads(text)

            async def write(connection: Any) -> int | None:
                number: int | None = await connection.fetchval(SAVE, identifier, edit["content"])
                if number is not None:
                    await connection.execute(REVISION, identifier, str(number), edit["content"], edit["author"])
                return number

            revision = await self._database.run_repeatedly(write)

        def plan(answers: list[Any]) -> tuple[list[tuple[Any, ...]], None]:
            if answers[0] != text:
                return [], None
            return [("DEL", self._key(identifier)), ("ZREM", self._edited, identifier)], None

        await self._store.update([self._key(identifier)], [("GET", self._key(identifier))], plan)
        return revision

    async def find(self, identifier: str) -> dict[str, Any] | None:
        """Return a draft as it was last saved, with its revisions. Raises DatabaseError."""

        async def read(connection: Any) -> tuple[Any, list[Any]]:
            row = await connection.fetchrow(FIND, identifier)
            return row, await connection.fetch(LIST, identifier) if row else []

        row, revisions = await self._database.run(read)
        if row is None:
            return None
        lists = {key: json.loads(row[key]) for key in ("tags", "collaborators")}
        return {**dict(row), **lists, "revisions": [dict(item) for item in revisions]}
