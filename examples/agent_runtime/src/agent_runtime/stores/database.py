"""PostgreSQL through PgBouncer in transaction pooling.

Every use is one transaction, and no prepared statement outlives it: between two transactions PgBouncer may give this
connection to another server connection, where a statement prepared before is unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]

from agent_runtime.secret import Secret
from agent_runtime.tracing import spans

Result = TypeVar("Result")
Act = Callable[[Any], Awaitable[Result]]
TRIES = 6
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 2.0
# SQLSTATE classes of a lost or refused connection, of a shutdown and of a transaction to be tried again. 08P01 is how
# PgBouncer reports its own refusals.
_TRANSIENT = ("08", "57P", "40", "53", "25006")


class DatabaseError(OSError):
    """PostgreSQL did not answer; the caller may try again later."""


@dataclass(frozen=True)
class DatabaseOptions:
    """How to reach the database. Times are in seconds; `tls` gives the context of the moment."""

    addresses: tuple[tuple[str, int], ...]
    username: str | None
    database: str | None
    password: Secret | None = None
    pool_size: int = 4
    timeout: float = 5.0
    application: str = "agent-runtime"
    tls: Callable[[], ssl.SSLContext] | None = None


def is_transient(error: BaseException) -> bool:
    """Tell whether the same transaction may succeed later."""
    if isinstance(error, asyncpg.PostgresError):
        return str(getattr(error, "sqlstate", "")).startswith(_TRANSIENT)
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError)


class Database:
    """A pool of connections that are opened when they are needed."""

    def __init__(self, options: DatabaseOptions) -> None:
        self._options = options
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()

    async def _find_pool(self) -> Any:
        async with self._opening:
            if self._pool is None:
                options = self._options
                more: dict[str, Any] = {}
                if spans.is_on():
                    from agent_runtime.stores.traced_connection import TracedConnection

                    more["connection_class"] = TracedConnection
                self._pool = await asyncpg.create_pool(
                    host=[address for address, _ in options.addresses],
                    port=[port for _, port in options.addresses],
                    user=options.username,
                    password=options.password.reveal() if options.password else None,
                    database=options.database,
                    ssl=options.tls() if options.tls else False,
                    min_size=0,
                    max_size=options.pool_size,
                    timeout=options.timeout,
                    command_timeout=options.timeout,
                    statement_cache_size=0,
                    # PgBouncer resets its server connections itself where that is needed.
                    reset=_keep_session,
                    server_settings={"application_name": options.application},
                    **more,
                )
            return self._pool

    async def run(self, act: Act[Result]) -> Result:
        """Run `act` with a connection, in one transaction.

        Raises:
            DatabaseError: the database did not answer. Whether the transaction counted is then unknown.
            asyncpg.PostgresError: the database refused the statement.
        """

        async def transact(connection: Any) -> Result:
            async with connection.transaction():
                return await act(connection)

        return await self._use(transact)

    async def _use(self, act: Act[Result]) -> Result:
        try:
            pool = await self._find_pool()
            async with asyncio.timeout(self._options.timeout * 2), pool.acquire() as connection:
                return await act(connection)
        except Exception as error:
            if not is_transient(error):
                raise
            raise DatabaseError(f"{type(error).__name__}: {error}") from error

    async def run_repeatedly(self, act: Act[Result], tries: int = TRIES) -> Result:
        """Run a transaction that may count twice without harm, again and again while the database is away.

        Raises:
            DatabaseError: it has not answered in any of the tries (6 take some 5 s at least).
        """
        return await self._repeat(lambda: self.run(act), tries)

    async def execute_repeatedly(self, statement: str, tries: int = TRIES) -> None:
        """Run one statement that may count twice without harm: a transaction of its own, in one round trip.

        Values are part of its text: whoever builds it has to make sure that none of them can end its literal.

        Raises:
            DatabaseError: as `run_repeatedly`.
            asyncpg.PostgresError: the database refused the statement.
        """
        await self._repeat(lambda: self._use(lambda connection: connection.execute(statement)), tries)

    async def _repeat(self, attempt: Callable[[], Awaitable[Result]], tries: int) -> Result:
        wait = FIRST_WAIT_SECONDS
        for number in range(tries):
            try:
                return await attempt()
            except DatabaseError:
                if number == tries - 1:
                    raise
            await asyncio.sleep(wait)
            wait = min(wait * 2.5, LONGEST_WAIT_SECONDS)
        raise AssertionError("unreachable")

    async def check(self) -> None:
        """Raise DatabaseError unless the database answers and lets this user in."""
        try:
            await self.run(_select_one)
        except asyncpg.PostgresError as error:
            raise DatabaseError(f"{type(error).__name__}: {error}") from error

    async def renew(self) -> None:
        """Use new connections from now on; the old ones end once their transactions have."""
        old, self._pool = self._pool, None
        if old is not None:
            task = asyncio.create_task(_retire(old, self._options.timeout), name="old connections")
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*self._retired, return_exceptions=True)
        if self._pool is not None:
            await _retire(self._pool, self._options.timeout)


async def _keep_session(connection: Any) -> None:
    """Nothing is set in a session."""


async def _select_one(connection: Any) -> None:
    await connection.execute("SELECT 1")


async def _retire(pool: Any, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await pool.close()
    except TimeoutError:
        with contextlib.suppress(Exception):
            pool.terminate()
