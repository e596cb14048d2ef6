"""One connection to NATS per process, kept up for as long as the process lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, KeyValueConfig, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import BucketNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from agent_runtime.bus.errors import FAILURES, BusError, guard, guard_missing
from agent_runtime.bus.storing import Storing
from agent_runtime.instance import Service
from agent_runtime.pace import Pace
from agent_runtime.tls import Tls
from agent_runtime.tracing import spans
from agent_runtime.work.messages import new_identifier

log = logging.getLogger(__name__)
Receive = Callable[[Msg], Awaitable[None]]
RECONNECT_SECONDS = 0.25
PING_SECONDS, UNANSWERED_PINGS = 10, 2
# Messages that leave the process within this time leave together.
GATHER_SECONDS = 0.005
PENDING_BYTES = 16_777_216


@dataclass(frozen=True)
class Subscription:
    """What is subscribed to again on each new connection."""

    subject: str
    receive: Receive
    queue: str


class Bus:
    """The process's connection, its subscriptions and JetStream."""

    def __init__(self, service: Service, name: str, group: str, timeout: float, tls: Tls | None) -> None:
        scheme = "tls" if service.tls else "nats"
        hosts = [f"[{e.address}]" if ":" in e.address else e.address for e in service.endpoints]
        ports = [endpoint.port for endpoint in service.endpoints]
        self._servers = [f"{scheme}://{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
        # A cluster of three keeps three copies, so that one server may go away.
        self.replicas = 3 if len(self._servers) >= 3 else 1
        self._tls = tls if service.tls else None
        # An inbox of its own for each group, so that no group's user may read the replies to another.
        self.inbox = f"_INBOX.{group}"
        # Outcomes come on subjects of their own, because nobody may publish into another group's inbox.
        self.replies = f"reply.{group}"
        self._name, self._timeout = name, timeout
        self._subscriptions: list[Subscription] = []
        self._reconnected: list[Callable[[], None]] = []
        self._client: Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._buckets: dict[str, KeyValue] = {}
        self._pace = Pace(GATHER_SECONDS)
        self._storing = Storing(f"{self.inbox}.stored.{new_identifier()}", self._send, timeout)
        self._subscriptions.append(Subscription(self._storing.subject, self._storing.receive, ""))

    async def _send(self, subject: str, payload: bytes, reply: str, headers: dict[str, str]) -> None:
        await self._pace.wait()
        await self.client.publish(subject, payload, reply=reply, headers=headers)

    def start(self) -> None:
        """Begin to connect, and connect anew whenever the connection was given up."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="nats")

    async def _keep(self) -> None:
        wait = RECONNECT_SECONDS
        told = ""
        while True:
            if self._client is None or self._client.is_closed:
                try:
                    await self._connect()
                    wait, told = RECONNECT_SECONDS, ""
                except (*FAILURES, ValueError) as error:
                    text = f"{type(error).__name__}: {error}"
                    if text != told:
                        log.warning("no connection to NATS: %s", text)
                    told = text
                    wait = min(wait * 2, 5.0)
            await asyncio.sleep(wait)

    async def _connect(self) -> None:
        async def note_error(error: Exception) -> None:
            log.warning("nats: %s: %s", type(error).__name__, error)

        async def note_reconnect() -> None:
            log.info("connected to NATS again")
            for act in self._reconnected:
                act()

        client = Client()
        arguments: dict[str, Any] = {"tls": self._tls.client} if self._tls else {}
        try:
            async with asyncio.timeout(self._timeout):
                await client.connect(
                    servers=self._servers,
                    name=self._name,
                    inbox_prefix=self.inbox,
                    connect_timeout=max(1, int(self._timeout)),
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=UNANSWERED_PINGS,
                    pending_size=PENDING_BYTES,
                    error_cb=note_error,
                    reconnected_cb=note_reconnect,
                    **arguments,
                )
        except BaseException:
            with contextlib.suppress(*FAILURES):
                await client.close()
            raise
        for subscription in self._subscriptions:
            await client.subscribe(subscription.subject, subscription.queue, cb=subscription.receive)
        self._client = client
        self._buckets.clear()
        for act in self._reconnected:
            act()

    @property
    def client(self) -> Client:
        """The connection.

        Raises:
            BusError: there is none at the moment.
        """
        if self._client is None or not self._client.is_connected:
            raise BusError("NATS is not connected")
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream on the connection; BusError as `client`."""
        return JetStreamContext(self.client, timeout=self._timeout)

    def on_reconnect(self, act: Callable[[], None]) -> None:
        """Have `act` called after each new connection."""
        self._reconnected.append(act)

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> None:
        """Receive a subject's messages now and after each new connection. Raises BusError."""
        self._subscriptions.append(Subscription(subject, receive, queue))
        if self._client is not None and self._client.is_connected:
            await guard(self._client.subscribe(subject, queue, cb=receive))

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send without being told whether anybody received it. Raises BusError."""
        await self._pace.wait()
        await guard(self.client.publish(subject, payload, reply=reply))

    async def publish_together(self, *messages: tuple[str, bytes]) -> None:
        """Send several messages (subject and payload) in this order at once. Raises BusError."""
        await self._pace.wait()
        for subject, payload in messages:
            await guard(self.client.publish(subject, payload))

    async def store(self, subject: str, payload: bytes, identifier: str) -> None:
        """Put a message into the stream of its subject; the same identifier counts once within two minutes.

        Its headers carry the context of the span that is under way.

        Raises:
            BusFullError: the stream is full.
            BusError: not stored, or perhaps stored and not confirmed.
        """
        await guard(self._storing.store(subject, payload, identifier, spans.carry()))

    async def find_stream(self, config: StreamConfig) -> None:
        """Look a stream up, and create it as described where there is none. Raises BusError.

        Where streams are declared this only looks: the process has no right to create or change one.
        """
        try:
            await guard_missing(self.jetstream.stream_info(str(config.name)))
        except NotFoundError:
            await guard(self.jetstream.add_stream(config.evolve(num_replicas=self.replicas)))

    async def find_consumer(self, stream: str, config: ConsumerConfig) -> None:
        """Look a durable consumer up, and create it as described where there is none. Raises BusError."""
        try:
            await guard_missing(self.jetstream.consumer_info(stream, str(config.durable_name)))
        except NotFoundError:
            await guard(self.jetstream.add_consumer(stream, config))

    async def bucket(self, name: str) -> KeyValue:
        """Return a key-value bucket, created if it is missing. Raises BusError."""
        if name not in self._buckets:
            try:
                found = await guard_missing(self.jetstream.key_value(name))
            except (BucketNotFoundError, NotFoundError):
                wanted = KeyValueConfig(bucket=name, history=5, replicas=self.replicas)
                found = await guard(self.jetstream.create_key_value(wanted))
            self._buckets[name] = found
        return self._buckets[name]

    async def check(self) -> None:
        """Raise BusError unless NATS answers."""
        await guard(self.client.flush(timeout=max(1, int(self._timeout))))

    async def renew(self) -> None:
        """Use the present certificates at the next handshake; the connection itself goes on."""
        if self._client is not None and self._tls is not None:
            self._client.options["tls"] = self._tls.client

    async def close(self) -> None:
        """Send what is still to be sent, and close."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._client is not None:
            with contextlib.suppress(*FAILURES):
                if self._client.is_connected:
                    await self._client.flush(timeout=1)
                await self._client.close()
