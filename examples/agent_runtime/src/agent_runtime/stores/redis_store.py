"""Redis: connections with limits, and transactions that several processes may try at once.

Only ordinary commands are used, so that an access-control user without @admin, @dangerous and @scripting will do.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError, WatchError

from agent_runtime.secret import Secret

Command = tuple[Any, ...]
Read = Callable[..., Awaitable[Any]]
Result = TypeVar("Result")
# With 4 processes on one key, ten rounds are already rare; a hundred means that something else is wrong.
TRANSACTION_TRIES = 100
LONGEST_BLOCK_SECONDS = 1.0


class StoreError(Exception):
    """Redis did not answer, or refused; the caller may try again later."""


@dataclass(frozen=True)
class RedisOptions:
    """How to reach Redis. Times are in seconds."""

    host: str
    port: int
    username: str | None = None
    password: Secret | None = None
    database: int = 0
    pool_size: int = 20
    timeout: float = 5.0
    prefix: str = ""


class RedisStore:
    """A pool for ordinary commands, and separate connections for those that wait.

    The two are apart because twenty agents in one process that all wait for work would use up a pool of twenty.
    """

    def __init__(self, options: RedisOptions) -> None:
        self.prefix = options.prefix
        common: dict[str, Any] = {
            "host": options.host,
            "port": options.port,
            "db": options.database,
            "username": options.username,
            "password": options.password.reveal() if options.password else None,
            "socket_connect_timeout": options.timeout,
            "socket_keepalive": True,
            "health_check_interval": 30,
            "decode_responses": True,
            "protocol": 2,
            # Whether a command may be sent twice is for its caller to say, so the client never does by itself.
            "retry": Retry(NoBackoff(), 0),
        }
        self._pool = BlockingConnectionPool(
            max_connections=options.pool_size,
            timeout=options.timeout,
            socket_timeout=options.timeout,
            **common,
        )
        self._waiting_pool = ConnectionPool(socket_timeout=options.timeout + LONGEST_BLOCK_SECONDS, **common)
        # The library leaves the calls used here untyped.
        self._client: Any = Redis(connection_pool=self._pool)
        self._waiting_client: Any = Redis(connection_pool=self._waiting_pool)
        # Answers as Redis sends them: how the library reshapes some of them differs between its versions.
        for client in (self._client, self._waiting_client):
            client.response_callbacks.clear()

    async def run(self, *command: Any) -> Any:
        """Run one command.

        Raises:
            StoreError: Redis did not answer or refused the command.
        """
        return await _guard(self._client.execute_command(*command))

    async def run_waiting(self, *command: Any) -> Any:
        """Run a command that waits at the server, for `LONGEST_BLOCK_SECONDS` at most."""
        return await _guard(self._waiting_client.execute_command(*command))

    async def run_together(self, commands: list[Command]) -> list[Any]:
        """Run commands as one transaction: all of them or none."""

        async def send() -> list[Any]:
            async with self._client.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(await pipe.execute())

        return await _guard(send())

    async def update(self, keys: list[str], plan: Callable[[Read], Awaitable[tuple[list[Command], Result]]]) -> Result:
        """Read keys, decide, and write, with nobody else writing the keys in between.

        Args:
            keys: the keys that the decision depends on.
            plan: called with a function that reads; returns the commands to run and the result to give back. It
                is called again when another process changed one of the keys meanwhile.

        Raises:
            StoreError: Redis did not answer, or the keys changed in every one of 100 tries.
        """
        for attempt in range(TRANSACTION_TRIES):
            try:
                return await _guard(self._try_update(keys, plan))
            except WatchError:
                await asyncio.sleep(random.uniform(0, 0.002 * min(attempt + 1, 20)))
        raise StoreError(f"{keys[0]} kept changing")

    async def _try_update(
        self, keys: list[str], plan: Callable[[Read], Awaitable[tuple[list[Command], Result]]]
    ) -> Result:
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(*keys)
            commands, result = await plan(pipe.execute_command)
            if commands:
                pipe.multi()
                for command in commands:
                    pipe.execute_command(*command)
                await pipe.execute()
            return result

    async def check(self) -> None:
        """Raise StoreError unless Redis answers and lets this user in."""
        await self.run("PING")

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.disconnect()
        await self._waiting_pool.disconnect()


async def _guard(call: Awaitable[Result]) -> Result:
    try:
        return await call
    except WatchError:
        raise
    except ResponseError as error:
        raise StoreError(str(error)) from error
    except (TimeoutError, RedisError, OSError) as error:
        raise StoreError(f"{type(error).__name__}: {error}") from error
