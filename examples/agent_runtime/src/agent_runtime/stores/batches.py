"""Rows from many callers, written together: one transaction for all that came within some milliseconds.

A transaction costs PgBouncer, PostgreSQL and this process several times what a row in it does, so that waiting for
company saves more time than it takes as soon as rows come often; it costs a row that stays alone those milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import asyncpg  # type: ignore[import-untyped]

from agent_runtime.pace import Pace
from agent_runtime.stores.database import DatabaseError
from agent_runtime.tracing import spans

log = logging.getLogger(__name__)
Row = TypeVar("Row")
LARGEST_BATCH = 500
GATHER_SECONDS = 0.005


class BatchWriter(Generic[Row]):
    """Writes rows with a function that takes many, and tells each caller how its own row fared."""

    def __init__(
        self, write: Callable[[list[Row]], Awaitable[None]], writers: int = 2, gather: float = GATHER_SECONDS
    ) -> None:
        """`write` must be harmless to repeat: rows are written again when the answer was lost.

        At most `writers` transactions run at once. Each takes what has come within `gather` seconds.
        """
        self._write, self._writers, self._pace = write, writers, Pace(gather)
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        # Where the first row of those that wait comes from: a batch is part of that request's trace.
        self._carrier: dict[str, str] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, row: Row) -> None:
        """Write a row and return once it is committed.

        Raises:
            DatabaseError: the database did not answer.
            asyncpg.PostgresError: it refused this row.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            self._carrier = spans.carry()
        self._waiting.append((row, future))
        if len(self._running) < self._writers:
            task = asyncio.create_task(self._work(), name="batch")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        with spans.span("wait for the batch"):
            await future

    async def _work(self) -> None:
        while self._waiting:
            await self._pace.wait()
            batch, self._waiting = self._waiting[:LARGEST_BATCH], self._waiting[LARGEST_BATCH:]
            with spans.span("write a batch", "internal", {"rows": len(batch)}, self._carrier):
                await self._write_batch(batch)

    async def _write_batch(self, batch: list[tuple[Row, asyncio.Future[None]]]) -> None:
        try:
            await self._write([row for row, _ in batch])
        except asyncpg.PostgresError as error:
            if len(batch) > 1:
                # One bad row must not cost the others.
                for pair in batch:
                    await self._write_batch([pair])
                return
            _settle(batch, error)
        except DatabaseError as error:
            _settle(batch, error)
        except BaseException as error:
            _settle(batch, DatabaseError(f"not written: {type(error).__name__}: {error}"))
            raise
        else:
            _settle(batch, None)


def _settle(batch: list[tuple[Row, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, future in batch:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
