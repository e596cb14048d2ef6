"""Configurations: every version in PostgreSQL, the active one in a key-value bucket, cached by those who read it."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from nats.aio.msg import Msg
from nats.js.errors import KeyNotFoundError

from agent_runtime.bus.connection import Bus
from agent_runtime.bus.errors import guard, guard_missing
from agent_runtime.stores.consul import Buckets
from agent_runtime.stores.database import Database
from agent_runtime.work.entries import PermanentError

BUCKET = "configuration"
# One token of a NATS subject and a part of a bucket's key.
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
LARGEST_BYTES = 262_144

ACTIVATE = """
WITH former AS (
    UPDATE agent_configurations SET active = false WHERE agent = $1 AND active RETURNING version
)
SELECT coalesce(max(version), 0) FROM agent_configurations WHERE agent = $1
"""
INSERT = """
INSERT INTO agent_configurations (agent, version, configuration, active, changed_by)
VALUES ($1, $2::text::integer, $3::text::jsonb, true, $4)
"""


def changed_subject(agent: str) -> str:
    """Where changes of an agent's configuration are told."""
    return f"config.changed.{agent}"


def read_name(value: object) -> str:
    """Check an agent's name. Raises PermanentError."""
    if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
        raise PermanentError("agent: 1 to 64 letters, digits, dashes or underscores are needed")
    return value


class ConfigurationBook:
    """Changes configurations; for the primary alone."""

    def __init__(self, bus: Bus, database: Database, buckets: Buckets | None = None) -> None:
        self._bus, self._database = bus, database
        self._buckets = buckets or bus

    async def change(self, agent: str, values: dict[str, Any], changed_by: str) -> int:
        """Store a new version, make it the active one, tell everybody, and return its number.

        Raises:
            DatabaseError, BusError: try again later. A version may be stored and not yet active; the next try makes
                one more.
        """
        text = json.dumps(values, separators=(",", ":"), sort_keys=True)

        async def write(connection: Any) -> int:
            # Two primaries never write at once; during a change of primary the lock keeps the numbers in order.
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"configuration {agent}")
            version = int(await connection.fetchval(ACTIVATE, agent)) + 1
            await connection.execute(INSERT, agent, str(version), text, changed_by)
            return version

        version = await self._database.run(write)
        bucket = await self._buckets.bucket(BUCKET)
        content = {"version": version, "values": values, "changed_by": changed_by, "time": time.time()}
        await guard(bucket.put(agent, json.dumps(content).encode()))
        await self._bus.publish(changed_subject(agent), str(version).encode())
        return version


class ConfigurationReader:
    """Reads active configurations, and keeps them for `ttl` seconds or until a change is told."""

    def __init__(self, bus: Bus, ttl: float, buckets: Buckets | None = None) -> None:
        self._bus, self._ttl = bus, ttl
        self._buckets = buckets or bus
        self._cache: dict[str, tuple[float, dict[str, Any]]] = {}

    async def start(self) -> None:
        """Begin to listen for changes. Raises BusError."""
        await self._bus.subscribe(changed_subject("*"), self._forget)

    async def _forget(self, message: Msg) -> None:
        self._cache.pop(message.subject.rpartition(".")[2], None)

    async def find(self, agent: str) -> dict[str, Any]:
        """Return `version` and `values` of an agent; version 0 and none if it has no configuration. Raises BusError."""
        cached = self._cache.get(agent)
        if cached is not None and time.monotonic() - cached[0] < self._ttl:
            return cached[1]
        bucket = await self._buckets.bucket(BUCKET)
        try:
            entry = await guard_missing(bucket.get(agent))
            content: dict[str, Any] = json.loads(entry.value or b"{}")
        except KeyNotFoundError:
            content = {"version": 0, "values": {}}
        self._cache[agent] = (time.monotonic(), content)
        return content
