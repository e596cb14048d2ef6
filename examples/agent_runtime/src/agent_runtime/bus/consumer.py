"""The working side over NATS: pulls an agent's requests as there is room, and takes each to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

from agent_runtime.bus.connection import Bus
from agent_runtime.bus.errors import BusError, guard
from agent_runtime.bus.subjects import (
    WORKERS,
    dead_subject,
    describe_dead,
    describe_requests,
    request_stream,
    request_subject,
)
from agent_runtime.logs import current_trace
from agent_runtime.metrics import AgentMetrics
from agent_runtime.settings import RuntimeSettings
from agent_runtime.tracing import conventions, spans
from agent_runtime.work.entries import Handler, PermanentError, compute_wait
from agent_runtime.work.messages import Outcome, Work, new_identifier, read_work

log = logging.getLogger(__name__)
PULL_SECONDS = 5.0
MAINTENANCE_SECONDS = 2.0
REMEMBERED = 20_000
# What a consumer's client answers to a message (docs.nats.io, "JetStream wire API"); it leaves with the outcome.
ACKNOWLEDGE = b"+ACK"
GiveUp = Callable[[Work, str], Awaitable[None]]


class BusConsumer:
    """Handles the requests to one agent.

    At least once: a request is acknowledged after its handler has returned. One whose worker ended comes again, to
    any replica, after `work_idle_seconds`.
    """

    def __init__(
        self,
        agent: str,
        handler: Handler,
        give_up: GiveUp,
        is_open: Callable[[], bool],
        bus: Bus,
        settings: RuntimeSettings,
        metrics: AgentMetrics,
        concurrency: int,
    ) -> None:
        self._agent, self._handler, self._give_up, self._is_open = agent, handler, give_up, is_open
        self._bus, self._settings, self._metrics = bus, settings, metrics
        self._concurrency = concurrency
        self._inbox = f"{bus.inbox}.work.{new_identifier()}"
        self._running: dict[str, tuple[Msg, asyncio.Task[None]]] = {}
        # Outcomes of the last requests: one that comes again, because its acknowledgement was lost, is not redone.
        self._ended: OrderedDict[str, Outcome] = OrderedDict()
        self._asked, self._asked_at = 0, 0.0
        self._stopping = False
        self._changed = asyncio.Event()
        bus.on_reconnect(self._forget_pulls)

    def _forget_pulls(self) -> None:
        self._asked = 0
        self._changed.set()

    async def fetch(self) -> None:
        """Take requests for as long as there is room, until `stop`."""
        await self._bus.subscribe(self._inbox, self._receive)
        wait = 0.1
        while not self._stopping:
            try:
                await self._prepare()
                while not self._stopping:
                    await self._pull()
                    wait = 0.1
            except BusError as error:
                log.warning("no requests can be taken: %s", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)

    async def _prepare(self) -> None:
        await self._bus.find_stream(describe_requests(self._agent, self._settings.work_backlog))
        await self._bus.find_stream(describe_dead(self._agent))
        config = ConsumerConfig(
            durable_name=WORKERS,
            filter_subject=request_subject(self._agent),
            ack_wait=self._settings.work_idle_seconds,
            max_deliver=-1,
            max_ack_pending=self._settings.work_backlog,
            # Each replica has a few pulls open; 512 is the server's own default.
            max_waiting=512,
        )
        await self._bus.find_consumer(request_stream(self._agent), config)

    async def _pull(self) -> None:
        """Ask for as many requests as there is room for, then wait until that may have changed."""
        self._changed.clear()
        if self._asked and time.monotonic() - self._asked_at > PULL_SECONDS + 2:
            self._asked = 0  # neither requests nor an end came: the pull itself was lost
        room = self._find_room()
        if room and self._is_open():
            expires = int(PULL_SECONDS * 1e9)
            payload = json.dumps({"batch": room, "expires": expires}).encode()
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{request_stream(self._agent)}.{WORKERS}"
            await self._bus.publish(subject, payload, reply=self._inbox)
            self._asked += room
            self._asked_at = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._changed.wait()

    def _find_room(self) -> int:
        """How many requests to ask for: none until a quarter of all places is free, so that few pulls are needed."""
        room = self._concurrency - len(self._running) - self._asked
        return room if room >= max(1, self._concurrency // 4) else 0

    async def _receive(self, message: Msg) -> None:
        if not message.reply:
            # The end of a pull: its time is over, or the server has gone away with it.
            headers = message.headers or {}
            left = headers.get("Nats-Pending-Messages", "")
            self._asked = max(0, self._asked - int(left)) if left.isdecimal() else 0
            self._changed.set()
            return
        self._asked = max(0, self._asked - 1)
        if self._stopping:
            with contextlib.suppress(BusError):
                await guard(message.nak())
            return
        key = message.reply
        task = asyncio.create_task(self._handle(message), name="work")
        self._running[key] = (message, task)
        task.add_done_callback(lambda _: self._finish(key))

    def _finish(self, key: str) -> None:
        self._running.pop(key, None)
        if self._find_room():
            self._changed.set()

    async def _handle(self, message: Msg) -> None:
        delivery = message.metadata.num_delivered
        try:
            try:
                work = read_work(self._agent, message.data, delivery - 1)
            except ValueError as error:
                await self._set_aside(message, None, f"malformed: {error}")
                return
            current_trace.set(work.trace or None)
            ended = self._ended.get(work.identifier)
            if ended is not None:
                self._metrics.work.labels("duplicate").inc()
                await self._end(message, work, ended)
            elif delivery > self._settings.work_tries:
                await self._set_aside(message, work, f"its worker ended {delivery - 1} times")
            else:
                known = conventions.describe_request(self._agent, work.identifier, "nats", message.subject)
                name = f"{conventions.INVOKE_AGENT} {self._agent}"
                with spans.span(name, "consumer", known, message.headers or {}) as span:
                    await self._try(message, work, span)
        except BusError as error:
            log.warning("request stays pending: %s", error)
        except Exception:
            log.exception("request stays pending")

    async def _try(self, message: Msg, work: Work, span: spans.Span) -> None:
        started = time.monotonic()
        self._metrics.work_in_flight.inc()
        try:
            async with asyncio.timeout(self._settings.work_timeout):
                outcome = Outcome(True, await self._handler(work))
        except PermanentError as error:
            span.fail(type(error).__name__, str(error))
            self._metrics.work.labels("failed").inc()
            await self._set_aside(message, work, str(error))
            return
        except Exception as error:  # a handler may fail in any way; the request must survive all of them
            span.fail(type(error).__name__, str(error))
            self._metrics.work.labels("failed").inc()
            reason = f"{type(error).__name__}: {error}"[:500]
            tries = work.tries + 1
            log.warning("request failed: %s", reason, extra={"request": work.identifier, "tries": tries})
            if tries >= self._settings.work_tries:
                await self._set_aside(message, work, reason)
            else:
                self._metrics.work.labels("retried").inc()
                await guard(message.nak(delay=compute_wait(tries, self._settings.work_retry_seconds)))
            return
        finally:
            self._metrics.work_in_flight.dec()
            self._metrics.work_seconds.observe(time.monotonic() - started)
        self._metrics.work.labels("processed").inc()
        await self._end(message, work, outcome)

    async def _end(self, message: Msg, work: Work, outcome: Outcome) -> None:
        self._ended[work.identifier] = outcome
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        reply = [(work.requester, outcome.encode().encode())] if work.requester else []
        await self._bus.publish_together(*reply, (message.reply, ACKNOWLEDGE))

    async def _set_aside(self, message: Msg, work: Work | None, reason: str) -> None:
        content = {"reason": reason, "time": time.time(), "request": message.data.decode("utf-8", "replace")}
        identifier = work.identifier if work else new_identifier()
        if work is not None:
            await self._give_up(work, reason)
        await self._bus.store(dead_subject(self._agent), json.dumps(content).encode(), f"dead-{identifier}")
        self._metrics.work.labels("dead").inc()
        log.error("request set aside: %s", reason, extra={"request": identifier})
        if work is not None and work.requester:
            await self._bus.publish(work.requester, Outcome(False, {}, reason).encode().encode())
        await guard(message.term())

    async def maintain(self) -> None:
        """Until `stop`: keep hold of requests that take long, and measure the queue."""
        pause = min(MAINTENANCE_SECONDS, self._settings.work_idle_seconds / 3)
        while not self._stopping or self._running:
            await asyncio.sleep(pause)
            try:
                for message, _ in list(self._running.values()):
                    await guard(message.in_progress())
                info = await guard(self._bus.jetstream.consumer_info(request_stream(self._agent), WORKERS))
                self._metrics.queue_depth.set((info.num_pending or 0) + (info.num_ack_pending or 0))
            except BusError as error:
                log.debug("queue not maintained: %s", error)

    async def stop(self, seconds: float) -> int:
        """Take nothing more, wait for what is running, and return how many requests had to be left pending."""
        self._stopping = True
        self._changed.set()
        deadline = time.monotonic() + seconds
        while self._running and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait([task for _, task in self._running.values()], timeout=left)
        abandoned = [task for _, task in self._running.values()]
        for task in abandoned:
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)
        return len(abandoned)
