"""Connections to Redis servers, and which server a key's commands go to: one, the master, or a cluster's shard."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from agent_runtime.secret import Secret

LONGEST_BLOCK_SECONDS = 1.0
Address = tuple[str, int]
# What a server answers when it has not run the command because another one should, or because it cannot yet.
_ELSEWHERE = ("MOVED ", "ASK ", "READONLY ", "CLUSTERDOWN ", "TRYAGAIN ", "LOADING ", "MASTERDOWN ")
_ELSEWHERE_NAMES = (
    "MovedError",
    "AskError",
    "ReadOnlyError",
    "ClusterDownError",
    "TryAgainError",
    "BusyLoadingError",
    "MasterDownError",
)


@dataclass(frozen=True)
class RedisOptions:
    """How to reach Redis. Times are in seconds; `tls` gives the context of the moment, or is None for plain text."""

    endpoints: tuple[Address, ...]
    username: str | None = None
    password: Secret | None = None
    database: int = 0
    pool_size: int = 20
    timeout: float = 5.0
    prefix: str = ""
    mode: str = "standalone"
    tls: Callable[[], ssl.SSLContext] | None = None


class TlsConnection(Connection):
    """A connection that uses the context of the moment: the library's own loads files, once per connection."""

    def __init__(self, *, tls: Callable[[], ssl.SSLContext], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._tls = tls

    def _connection_arguments(self) -> Any:
        return {**super()._connection_arguments(), "ssl": self._tls()}


class Node:
    """A pool for ordinary commands, and separate connections for those that wait.

    The two are apart because twenty agents in one process that all wait for work would use up a pool of twenty.
    """

    def __init__(self, address: Address, options: RedisOptions) -> None:
        self.address = address
        common: dict[str, Any] = {
            "host": address[0],
            "port": address[1],
            "db": options.database if options.mode != "cluster" else 0,
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
        if options.tls:
            common |= {"connection_class": TlsConnection, "tls": options.tls}
        self._pool = BlockingConnectionPool(
            max_connections=options.pool_size,
            timeout=options.timeout,
            socket_timeout=options.timeout,
            **common,
        )
        self._waiting_pool = ConnectionPool(socket_timeout=options.timeout + LONGEST_BLOCK_SECONDS, **common)
        # The library leaves the calls used here untyped.
        self.client: Any = Redis(connection_pool=self._pool)
        self.waiting: Any = Redis(connection_pool=self._waiting_pool)
        # Answers as Redis sends them: how the library reshapes some of them differs between its versions.
        for client in (self.client, self.waiting):
            client.response_callbacks.clear()

    async def close(self) -> None:
        """Close all connections, also those in use."""
        await self._pool.disconnect()
        await self._waiting_pool.disconnect()


def is_elsewhere(error: BaseException) -> bool:
    """Tell whether a server refused a command without running it, so that it may be sent again elsewhere or later."""
    return type(error).__name__ in _ELSEWHERE_NAMES or str(error).startswith(_ELSEWHERE)


class Router:
    """Knows the nodes, and which of them a key belongs to."""

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._nodes: dict[Address, Node] = {}
        self._master: Address | None = options.endpoints[0] if options.mode == "standalone" else None
        self._slots: list[tuple[int, int, Address]] = []

    def _node(self, address: Address) -> Node:
        if address not in self._nodes:
            self._nodes[address] = Node(address, self._options)
        return self._nodes[address]

    async def find(self, key: str) -> Node:
        """Return the node that takes the commands of a key.

        Raises:
            RedisError, OSError: no node says who does.
        """
        if self._options.mode == "cluster":
            if not self._slots:
                await self._learn_slots()
            slot = key_slot(key.encode())
            for first, last, address in self._slots:
                if first <= slot <= last:
                    return self._node(address)
            self.forget()
            raise RedisError(f"CLUSTERDOWN no node has slot {slot}")
        if self._master is None:
            self._master = await self._find_master()
        return self._node(self._master)

    def forget(self) -> None:
        """Ask anew at the next command: a node has failed or no longer is what it was."""
        self._slots = []
        if self._options.mode == "replicated":
            self._master = None

    async def _find_master(self) -> Address:
        """Ask every endpoint for its role; a replica's own word about its master also counts."""
        failure: Exception = RedisError("no endpoint is a master")
        for address in self._options.endpoints:
            try:
                role = await self._node(address).client.execute_command("ROLE")
            except NoPermissionError:
                # Then the endpoint is taken as the master until it answers READONLY.
                return address
            except (RedisError, OSError, TimeoutError) as error:
                failure = error
                continue
            if role[0] == "master":
                return address
        raise failure

    async def _learn_slots(self) -> None:
        failure: Exception = RedisError("no endpoint knows the cluster")
        known = [address for address in self._nodes if address not in self._options.endpoints]
        for address in (*self._options.endpoints, *known):
            try:
                rows = await self._node(address).client.execute_command("CLUSTER", "SLOTS")
            except ResponseError:
                raise
            except (RedisError, OSError, TimeoutError) as error:
                failure = error
                continue
            self._slots = [(row[0], row[1], (row[2][0] or address[0], int(row[2][1]))) for row in rows]
            if self._slots:
                return
        raise failure

    async def check(self) -> None:
        """Ask every node that commands go to.

        Raises:
            RedisError, OSError: one does not answer.
        """
        await self.find("check")
        addresses = {address for _, _, address in self._slots} if self._slots else {self._master}
        for address in addresses:
            if address is not None:
                await self._node(address).client.execute_command("PING")

    async def close(self) -> None:
        """Close all connections."""
        for node in self._nodes.values():
            await node.close()
