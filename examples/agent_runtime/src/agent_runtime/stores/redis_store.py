"""Redis: single commands, and transactions that several processes may try at once.

Only ordinary commands are used, so that an access-control user without @admin, @dangerous and @scripting will do (a
replicated or clustered Redis needs `+role` and `+cluster|slots` as well). The commands of one unit of work stand in one
hash slot, because their keys have the same `scope`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.exceptions import RedisError, ResponseError, WatchError

from agent_runtime.stores.redis_nodes import LONGEST_BLOCK_SECONDS, Node, RedisOptions, Router, is_elsewhere

Command = tuple[Any, ...]
Result = TypeVar("Result")
Plan = Callable[[list[Any]], tuple[list[Command], Result]]
# With 4 processes on one key, ten rounds are already rare; a hundred means that something else is wrong.
TRANSACTION_TRIES = 100
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 0.5
__all__ = ["LONGEST_BLOCK_SECONDS", "Command", "RedisOptions", "RedisStore", "StoreError"]


class StoreError(Exception):
    """Redis did not answer, or refused; the caller may try again later."""


def find_key(command: Command) -> str:
    """Return the key that decides where a command goes; commands here name one unit of work's keys only."""
    name = str(command[0])
    if name == "XREADGROUP":
        return str(command[command.index("STREAMS") + 1])
    return str(command[2 if name == "XGROUP" else 1]) if len(command) > 1 else ""


class RedisStore:
    """What agents keep in Redis, all under the prefix."""

    def __init__(self, options: RedisOptions) -> None:
        self.prefix = options.prefix
        self._options = options
        self._router = Router(options)
        self._retired: set[asyncio.Task[None]] = set()

    def scope(self, name: str) -> str:
        """Return what all keys of one unit of work contain after the prefix; in a cluster it decides their slot."""
        return f"{{{name}}}:" if self._options.mode == "cluster" else ""

    async def run(self, *command: Any) -> Any:
        """Run one command.

        Raises:
            StoreError: Redis did not answer or refused the command.
        """
        return await self._route(find_key(command), lambda node: node.client.execute_command(*command))

    async def run_waiting(self, *command: Any) -> Any:
        """Run a command that waits at the server, for `LONGEST_BLOCK_SECONDS` at most."""
        return await self._route(find_key(command), lambda node: node.waiting.execute_command(*command))

    async def run_together(self, commands: list[Command]) -> list[Any]:
        """Run commands of one scope as one transaction: all of them or none."""

        async def send(node: Node) -> list[Any]:
            async with node.client.pipeline(transaction=True) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(await pipe.execute())

        return await self._route(find_key(commands[0]), send)

    async def read_together(self, commands: list[Command]) -> list[Any]:
        """Run commands of one scope in one round trip, each for itself."""

        async def send(node: Node) -> list[Any]:
            async with node.client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(await pipe.execute())

        return await self._route(find_key(commands[0]), send)

    async def update(self, keys: list[str], reads: list[Command], plan: Plan[Result]) -> Result:
        """Read, decide, and write, with nobody else writing the keys in between; two round trips if nobody tries.

        Args:
            keys: the keys that the decision depends on, all of one scope.
            reads: the commands that read.
            plan: called with their answers; returns the commands to run and the result to give back. It is called
                again when another process changed one of the keys meanwhile.

        Raises:
            StoreError: Redis did not answer, or the keys changed in every one of 100 tries.
        """
        for attempt in range(TRANSACTION_TRIES):
            try:
                return await self._route(keys[0], lambda node: _try_update(node, keys, reads, plan))
            except WatchError:
                await asyncio.sleep(random.uniform(0, 0.002 * min(attempt + 1, 20)))
        raise StoreError(f"{keys[0]} kept changing")

    async def _route(self, key: str, act: Callable[[Node], Awaitable[Result]]) -> Result:
        """Act on the key's node. What a server refused unrun is sent again, for the time that a command may take."""
        deadline = time.monotonic() + self._options.timeout
        wait = FIRST_WAIT_SECONDS
        while True:
            router = self._router
            try:
                return await act(await router.find(key))
            except WatchError:
                raise
            except (TimeoutError, RedisError, OSError) as error:
                failure = error
                if not isinstance(error, ResponseError) or is_elsewhere(error):
                    router.forget()
            if not is_elsewhere(failure) or time.monotonic() + wait > deadline:
                name = "" if isinstance(failure, ResponseError) else f"{type(failure).__name__}: "
                raise StoreError(f"{name}{failure}") from failure
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def check(self) -> None:
        """Raise StoreError unless Redis answers and lets this user in."""
        try:
            await self._router.check()
        except (TimeoutError, RedisError, OSError) as error:
            self._router.forget()
            raise StoreError(f"{type(error).__name__}: {error}") from error

    async def renew(self) -> None:
        """Use new connections from now on; the old ones end once their commands have."""
        old, self._router = self._router, Router(self._options)
        task = asyncio.create_task(_retire(old, self._options.timeout + LONGEST_BLOCK_SECONDS), name="old connections")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def close(self) -> None:
        """Close all connections."""
        for task in list(self._retired):
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        await self._router.close()


async def _retire(router: Router, seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        await router.close()


async def _try_update(node: Node, keys: list[str], reads: list[Command], plan: Plan[Result]) -> Result:
    connection: Any = await node.client.connection_pool.get_connection()
    clean = False
    try:
        answers = await _exchange(connection, [("WATCH", *keys), *reads])
        commands, result = plan(answers[1:])
        if commands:
            answers = await _exchange(connection, [("MULTI",), *commands, ("EXEC",)])
            if answers[-1] is None:
                clean = True
                raise WatchError("a key has changed")
        else:
            await _exchange(connection, [("UNWATCH",)])
        clean = True
        return result
    finally:
        if not clean:
            # Half an exchange or a watch may be left over.
            await connection.disconnect()
        await node.client.connection_pool.release(connection)


async def _exchange(connection: Any, commands: list[Command]) -> list[Any]:
    """Send commands at once and return their answers; raise the first that is an error."""
    await connection.send_packed_command(connection.pack_commands(commands))
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(await connection.read_response())
        except ResponseError as error:
            answers.append(error)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
