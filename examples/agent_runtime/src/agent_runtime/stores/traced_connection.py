"""Connections to PostgreSQL whose statements are spans and say which one: a comment with W3C Trace Context.

The comment is that of sqlcommenter, `/*traceparent='00-...-...-01'*/` at the end, so that a statement in PostgreSQL's
log or in pg_stat_activity leads to its trace. Only statements within a span have one; their text is not sent, since
values may be part of it.
"""

from __future__ import annotations

import re
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from agent_runtime.tracing import conventions, spans

# What frames a transaction is no statement of the agent.
_FRAME = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
_FIRST_WORD = re.compile(r"\s*([A-Za-z]+)")
_COMMENTED = re.compile(r"[0-9a-f-]{55}")


def comment(statement: str) -> str:
    """Return a statement with the present context as a comment."""
    parent = spans.carry().get("traceparent", "")
    return f"{statement} /*traceparent='{parent}'*/" if _COMMENTED.fullmatch(parent) else statement


class TracedConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection; each of its methods is that of asyncpg."""

    async def _run(self, method: str, statement: str, *arguments: Any, **options: Any) -> Any:
        act = getattr(super(), method)
        if not spans.is_inside() or _FRAME.match(statement):
            return await act(statement, *arguments, **options)
        word = _FIRST_WORD.match(statement)
        kind = word[1].upper() if word else "statement"
        known: conventions.Attributes = {
            conventions.DATABASE: "postgresql",
            conventions.NAMESPACE: self._params.database,
            conventions.STATEMENT_KIND: kind,
            conventions.SERVER_ADDRESS: str(self._addr[0]),
            conventions.SERVER_PORT: int(self._addr[1]),
        }
        with spans.span(f"{kind} {self._params.database}", "client", known):
            return await act(comment(statement), *arguments, **options)

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        """Run statements."""
        return await self._run("execute", query, *args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> Any:
        """Run a statement with each of many sets of values."""
        return await self._run("executemany", command, args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        """Return all rows."""
        return await self._run("fetch", query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        """Return the first row."""
        return await self._run("fetchrow", query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        """Return one value of the first row."""
        return await self._run("fetchval", query, *args, **options)
