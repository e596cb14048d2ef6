"""Where agents are, in the key-value bucket `discovery`: each writes itself again and again."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from agent_runtime.bus.connection import Bus
from agent_runtime.bus.errors import BusError, guard
from agent_runtime.instance import AgentEntry, Instance

log = logging.getLogger(__name__)
BUCKET = "discovery"
ANNOUNCE_SECONDS = 10.0


def announcement_key(entry: AgentEntry) -> str:
    """Return the key of one replica."""
    return f"agents.{entry.name}.{entry.replica}"


async def announce(bus: Bus, instance: Instance, entry: AgentEntry) -> None:
    """Write where an agent listens, now and every ten seconds."""
    content = {"host": instance.host, "address": entry.bind, "port": entry.port, "unit": instance.unit}
    while True:
        try:
            bucket = await bus.bucket(BUCKET)
            await guard(bucket.put(announcement_key(entry), json.dumps({**content, "time": time.time()}).encode()))
        except BusError as error:
            log.warning("not announced: %s", error)
        await asyncio.sleep(ANNOUNCE_SECONDS)
