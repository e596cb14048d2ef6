"""Messages through the whole path of ymera: queue, communication agent, the recipient's inbox, PostgreSQL.

A message counts as acknowledged once JetStream has stored it. It is lost if it was acknowledged and PostgreSQL does not
have it as delivered when the time to settle is over, or if its recipient has not got it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from argparse import Namespace
from typing import Any

from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from agent_runtime.bus.connection import Bus
from agent_runtime.bus.errors import BusError, BusFullError, guard, guard_missing
from agent_runtime.bus.subjects import INBOXES, inbox_subject, request_subject
from agent_runtime.figures import summarise
from agent_runtime.stores.database import Database, DatabaseError
from agent_runtime.work.messages import Work, new_identifier

COUNT = """
SELECT message_id::text, status FROM message_history WHERE message_id = ANY ($1::text[]::uuid[])
"""
AT_ONCE = 1000


class MessageLoad:
    """Sends messages, `concurrency` at a time, until the count or the time is used up."""

    def __init__(self, bus: Bus, database: Database, options: Namespace) -> None:
        self._bus, self._database, self._options = bus, database, options
        self._name = f"load-{new_identifier()[:12]}"
        self._replies = f"{bus.replies}.{self._name}"
        self._arrivals = f"{bus.inbox}.{self._name}.arrivals"
        self._sent = self._refused = self._errors = self._failed = self._duplicates = 0
        self._begun: dict[str, float] = {}
        self._acknowledged: dict[str, float] = {}
        self._delivered: dict[str, float] = {}
        self._recorded: dict[str, float] = {}
        self._replied: dict[str, asyncio.Future[None]] = {}
        self._end = 0.0
        self._heard, self._longest_gap = 0.0, 0.0

    def stop(self) -> None:
        """Send nothing more, though count and time are not used up; what is under way is still waited for."""
        self._end = 0.0

    async def run(self) -> dict[str, Any]:
        """Send everything, wait for what is still open, compare with PostgreSQL, and return the figures.

        Raises:
            BusError, DatabaseError: the services do not answer.
        """
        await self._bus.subscribe(f"{self._replies}.*", self._take_reply)
        await self._bus.subscribe(self._arrivals, self._take_arrival)
        config = ConsumerConfig(
            durable_name=self._name,
            deliver_subject=self._arrivals,
            filter_subject=inbox_subject(self._name),
            ack_wait=30,
            max_ack_pending=10_000,
        )
        await guard(self._bus.jetstream.add_consumer(INBOXES, config))
        started = time.monotonic()
        self._end, self._heard = started + self._options.seconds, started
        await asyncio.gather(*(self._send(started) for _ in range(self._options.concurrency)))
        sending = time.monotonic() - started
        stored = await self._settle()
        with contextlib.suppress(NotFoundError, BusError):
            await guard_missing(self._bus.jetstream.delete_consumer(INBOXES, self._name))
        return self._report(sending, stored)

    async def _send(self, started: float) -> None:
        options = self._options
        while self._sent < options.count and time.monotonic() < self._end:
            number = self._sent
            self._sent += 1
            if options.rate:
                # Late sending counts as latency: what was due then was kept waiting.
                due = started + number / options.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            else:
                due = time.monotonic()
            await self._send_one(due)

    async def _send_one(self, due: float) -> None:
        identifier = str(uuid.uuid4())
        message = {
            "message_id": identifier,
            "type": "load",
            "sender": self._name,
            "recipients": [self._name],
            "subject": "load",
            "payload": {"text": "x" * self._options.bytes},
            "created_at": round(time.time(), 6),
        }
        body = {"kind": "send", "message": message}
        work = Work("communication", body, identifier, time.time(), f"{self._replies}.{identifier}")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begun[identifier], self._replied[identifier] = due, future
        try:
            payload = json.dumps(work.describe(), separators=(",", ":")).encode()
            await self._bus.store(request_subject("communication"), payload, identifier)
            self._acknowledged[identifier] = time.monotonic() - due
            async with asyncio.timeout(self._options.timeout):
                await future
        except BusFullError:
            self._refused += 1
            await asyncio.sleep(0.05)
        except BusError:
            # Perhaps stored, perhaps not: never acknowledged, so it cannot be lost.
            self._errors += 1
            await asyncio.sleep(0.1)
        except TimeoutError:
            pass
        finally:
            self._replied.pop(identifier, None)

    async def _take_reply(self, message: Msg) -> None:
        identifier = message.subject.rpartition(".")[2]
        if identifier in self._begun and identifier not in self._recorded:
            now = time.monotonic()
            self._recorded[identifier] = now - self._begun[identifier]
            self._heard, self._longest_gap = now, max(self._longest_gap, now - self._heard)
            self._failed += not json.loads(message.data)["done"]
        future = self._replied.get(identifier)
        if future is not None and not future.done():
            future.set_result(None)

    async def _take_arrival(self, message: Msg) -> None:
        identifier = json.loads(message.data)["message_id"]
        if identifier in self._delivered:
            self._duplicates += message.metadata.num_delivered == 1
        elif identifier in self._begun:
            self._delivered[identifier] = time.monotonic() - self._begun[identifier]
        await guard(message.ack())

    async def _settle(self) -> dict[str, str]:
        """Wait until PostgreSQL and the inbox have all that was acknowledged, and return what PostgreSQL has."""
        deadline = time.monotonic() + self._options.settle
        while True:
            try:
                stored = await self._read_stored()
            except DatabaseError:
                stored = {}
            missing = self._acknowledged.keys() - stored.keys()
            if (not missing and not self._acknowledged.keys() - self._delivered.keys()) or time.monotonic() > deadline:
                return stored
            await asyncio.sleep(0.5)

    async def _read_stored(self) -> dict[str, str]:
        identifiers = list(self._acknowledged)
        found: dict[str, str] = {}
        for start in range(0, len(identifiers), AT_ONCE):
            found |= await self._read_part(identifiers[start : start + AT_ONCE])
        return found

    async def _read_part(self, identifiers: list[str]) -> dict[str, str]:
        rows = await self._database.run(lambda connection: connection.fetch(COUNT, identifiers))
        return {row["message_id"]: row["status"] for row in rows}

    def _report(self, sending: float, stored: dict[str, str]) -> dict[str, Any]:
        acknowledged = self._acknowledged.keys()
        delivered = sum(status == "delivered" for status in stored.values())
        return {
            "target": "ymera",
            "sent": self._sent,
            "acknowledged": len(acknowledged),
            "recorded": len(stored),
            "delivered": delivered,
            "arrived": len(acknowledged & self._delivered.keys()),
            "arrived_twice": self._duplicates,
            "failed": self._failed,
            "refused": self._refused,
            "errors": self._errors,
            "lost": len(acknowledged) - len(acknowledged & stored.keys() & self._delivered.keys()),
            "seconds": round(sending, 3),
            "rate": round(len(acknowledged) / sending, 1) if sending else None,
            "processor_seconds": round(time.process_time(), 3),
            # How long no message at all came through.
            "longest_gap_seconds": round(self._longest_gap, 3),
            "latency_seconds": summarise(list(self._recorded.values())),
            "latency_seconds_acknowledged": summarise(list(self._acknowledged.values())),
            "latency_seconds_arrived": summarise(list(self._delivered.values())),
        }
