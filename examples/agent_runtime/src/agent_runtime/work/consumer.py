"""The working side: takes an agent's requests from its stream, with a limit, and takes over those of dead workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

from agent_runtime.metrics import AgentMetrics
from agent_runtime.settings import RuntimeSettings
from agent_runtime.stores.redis_store import LONGEST_BLOCK_SECONDS, Command, RedisStore, StoreError
from agent_runtime.work.entries import EntryHandler, Handler
from agent_runtime.work.messages import GROUP, Keys, flatten_fields, pair_fields

log = logging.getLogger(__name__)

RETRIES_AT_ONCE = 20
MAINTENANCE_SECONDS = 1.0


class Consumer:
    """Handles the requests to one agent.

    At least once: an entry leaves the stream only in the transaction that stores its result, its next try or its
    place among the dead. A worker that ends in between leaves it pending; another takes it over when it has been
    silent for `work_idle_seconds`, and the worker itself does when it comes back under the same name.
    """

    def __init__(
        self,
        agent: str,
        name: str,
        handler: Handler,
        store: RedisStore,
        settings: RuntimeSettings,
        metrics: AgentMetrics,
    ) -> None:
        self._name = name
        self._store = store
        self._settings = settings
        self._metrics = metrics
        keys = Keys(store, agent)
        self._stream, self._retries = keys.stream(), keys.retries()
        self._handler = EntryHandler(agent, handler, store, settings, metrics)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._changed = asyncio.Event()
        self._fetch_ended = asyncio.Event()
        self._fetch_ended.set()

    async def fetch(self) -> None:
        """Take new requests for as long as there is room, until `stop`."""
        self._fetch_ended.clear()
        try:
            await self._fetch_until_stopped()
        finally:
            self._fetch_ended.set()

    async def _fetch_until_stopped(self) -> None:
        wait = 0.1
        recovered = False
        while not self._stopping:
            try:
                await self._create_group()
                while not self._stopping:
                    if not recovered:
                        await self._take_over("IDLE", 0, consumer=self._name)
                        recovered = True
                    await self._fetch_once()
                    wait = 0.1
            except StoreError as error:
                log.warning("no requests can be taken: %s", error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 5.0)

    async def maintain(self) -> None:
        """Until `stop`: keep hold of running requests, take over abandoned ones, bring back those due for a new try."""
        idle = int(self._settings.work_idle_seconds * 1000)
        pause = min(MAINTENANCE_SECONDS, self._settings.work_idle_seconds / 3)
        while not self._stopping or self._running:
            try:
                if self._running:
                    held = list(self._running)
                    await self._store.run("XCLAIM", self._stream, GROUP, self._name, 0, *held, "JUSTID")
                if not self._stopping:
                    await self._take_over("IDLE", idle)
                    while await self._bring_back_due():
                        pass
                waiting = await self._store.run("XLEN", self._stream)
                waiting += await self._store.run("ZCARD", self._retries)
                self._metrics.queue_depth.set(waiting)
            except StoreError as error:
                if "NOGROUP" not in str(error):
                    log.warning("queue not maintained: %s", error)
            await asyncio.sleep(pause)

    async def stop(self, seconds: float) -> int:
        """Take nothing more, wait for what is running, and return how many requests had to be left pending."""
        self._stopping = True
        self._changed.set()
        deadline = time.monotonic() + seconds
        # A read that waits at the server may still bring requests; cut off, they would stay pending unseen.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LONGEST_BLOCK_SECONDS + 0.5)):
                await self._fetch_ended.wait()
        while self._running and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(list(self._running.values()), timeout=left)
        abandoned = list(self._running.values())
        for task in abandoned:
            task.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)
        return len(abandoned)

    async def _create_group(self) -> None:
        try:
            await self._store.run("XGROUP", "CREATE", self._stream, GROUP, "0", "MKSTREAM")
        except StoreError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _fetch_once(self) -> None:
        room = self._settings.work_concurrency - len(self._running)
        if room <= 0:
            self._changed.clear()
            await self._changed.wait()
            return
        # fmt: off
        found = await self._store.run_waiting(
            "XREADGROUP", "GROUP", GROUP, self._name, "COUNT", room,
            "BLOCK", int(LONGEST_BLOCK_SECONDS * 1000), "STREAMS", self._stream, ">",
        )
        # fmt: on
        for _, entries in found or []:
            for entry, fields in entries:
                self._start(entry, fields, deliveries=0)

    async def _take_over(self, *condition: object, consumer: str = "") -> None:
        """Claim entries of the group that are pending and not handled, as far as there is room."""
        room = self._settings.work_concurrency - len(self._running)
        if room <= 0:
            return
        command = ["XPENDING", self._stream, GROUP, *condition, "-", "+", room]
        if consumer:
            command.append(consumer)
        for pending in await self._store.run(*command) or []:
            entry, _, _, deliveries = pending
            if entry in self._running:
                continue
            # The server checks the idle time again, so that of two workers only one gets it.
            claim = ("XCLAIM", self._stream, GROUP, self._name, condition[1], entry)
            for claimed, fields in filter(None, await self._store.run(*claim)):
                log.info("request taken over", extra={"entry": claimed, "deliveries": deliveries})
                self._start(claimed, fields, deliveries)

    def _start(self, entry: str, fields: list[str], deliveries: int) -> None:
        handling = self._handler.handle(entry, pair_fields(fields), deliveries)
        task = asyncio.create_task(handling, name=f"work {entry}")
        self._running[entry] = task
        task.add_done_callback(lambda _: self._finish(entry))

    def _finish(self, entry: str) -> None:
        self._running.pop(entry, None)
        self._changed.set()

    async def _bring_back_due(self) -> bool:
        """Move requests whose wait is over back to the stream, and tell whether there may be more."""

        def plan(answers: list[Any]) -> tuple[list[Command], int]:
            commands: list[Command] = []
            for member in answers[0]:
                commands.append(("XADD", self._stream, "*", *flatten_fields(json.loads(member))))
                commands.append(("ZREM", self._retries, member))
            return commands, len(answers[0])

        due = ("ZRANGEBYSCORE", self._retries, "-inf", repr(time.time()), "LIMIT", 0, RETRIES_AT_ONCE)
        return await self._store.update([self._retries], [due], plan) == RETRIES_AT_ONCE
