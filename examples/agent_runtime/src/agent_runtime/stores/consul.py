"""Consul in place of NATS's key-value buckets: configuration and leases as keys, agents as services."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from nats.js.errors import KeyNotFoundError

from agent_runtime.bus.errors import BusError
from agent_runtime.http_client import CallError, exchange
from agent_runtime.instance import AgentEntry, Endpoint, Instance, Service
from agent_runtime.secret import Secret
from agent_runtime.tls import Tls

log = logging.getLogger(__name__)
TTL_SECONDS, RENEW_SECONDS = 30, 10.0
"""A service that has not reported for as long counts as failed; how often it does."""


class Entry(Protocol):
    """What is under a key: its content, and a number that changes with each write."""

    value: bytes | None
    revision: int | None


class Bucket(Protocol):
    """What agents use of a key-value store, as NATS's client names it."""

    async def get(self, key: str) -> Any:
        """Return the Entry; KeyNotFoundError where there is none."""

    async def put(self, key: str, value: bytes) -> Any:
        """Write."""

    async def update(self, key: str, value: bytes, last: int | None = None) -> int:
        """Write only if nobody has since ``last``, and return the new revision."""


class Buckets(Protocol):
    """Where buckets come from: the bus, or Consul."""

    async def bucket(self, name: str) -> Any:
        """Return a Bucket. Raises BusError."""


@dataclass(frozen=True)
class ConsulEntry:
    """A key's content and the index of its last change."""

    value: bytes | None
    revision: int | None


class Consul:
    """One Consul as this process sees it: with its certificate, its token, and the keys below one prefix."""

    def __init__(self, service: Service, token: Secret | None, timeout: float, tls: Tls | None) -> None:
        pattern = next((key for key in service.keys if key.endswith("/*")), "*")
        self.prefix = pattern.removesuffix("*")
        self._endpoints, self._token, self._timeout, self._tls = service.endpoints, token, timeout, tls

    async def bucket(self, name: str) -> ConsulBucket:
        """Return the keys below ``<prefix><name>/``; nothing has to be made."""
        return ConsulBucket(self, f"{self.prefix}{name}/")

    async def ask(self, method: str, path: str, payload: bytes | None = None) -> bytes | None:
        """Return what the first server that answers says, None for "not found".

        Raises:
            BusError: none answers, or the request is refused.
        """
        headers = {"X-Consul-Token": self._token.reveal()} if self._token else {}
        context = self._tls.client if self._tls else None
        failure = BusError("no server of Consul is known")
        for endpoint in self._endpoints:
            try:
                status, content = await self._send(endpoint, method, path, payload, headers, context)
            except CallError as error:
                failure = BusError(f"Consul: {error}")
                continue
            if status == 404:
                return None
            if status == 200:
                return content
            failure = BusError(f"Consul: {status} {content.decode(errors='replace').strip()[:200]}")
            if status < 500:
                break
        raise failure

    async def _send(
        self, endpoint: Endpoint, method: str, path: str, payload: bytes | None, headers: dict[str, str], context: Any
    ) -> tuple[int, bytes]:
        timeout = self._timeout
        return await exchange(endpoint, method, f"/v1/{path}", payload, headers, timeout=timeout, tls=context)

    async def check(self) -> None:
        """Raise BusError unless there is a leader: without one nothing can be written."""
        if await self.ask("GET", "status/leader") in (None, b'""'):
            raise BusError("Consul has no leader")


class ConsulBucket:
    """Keys below one prefix (Consul, HTTP API, "KV Store")."""

    def __init__(self, consul: Consul, prefix: str) -> None:
        self._consul, self._prefix = consul, prefix

    def _path(self, key: str) -> str:
        return f"kv/{quote(self._prefix + key)}"

    async def get(self, key: str) -> ConsulEntry:
        """Return the entry as the leader has it; KeyNotFoundError where there is none."""
        content = await self._consul.ask("GET", f"{self._path(key)}?consistent")
        if content is None:
            raise KeyNotFoundError
        found = json.loads(content)[0]
        return ConsulEntry(base64.b64decode(found["Value"] or ""), int(found["ModifyIndex"]))

    async def put(self, key: str, value: bytes) -> None:
        """Write whatever is there."""
        await self._consul.ask("PUT", self._path(key), value)

    async def update(self, key: str, value: bytes, last: int | None = None) -> int:
        """Write if the key's index is still ``last`` (0: there is none yet), and return the new index.

        Raises:
            BusError: "wrong last sequence" where somebody else has written.
        """
        if await self._consul.ask("PUT", f"{self._path(key)}?cas={last or 0}", value) != b"true":
            raise BusError("wrong last sequence")
        entry = await self.get(key)
        if entry.value != value:
            raise BusError("wrong last sequence")
        return entry.revision or 0


def describe_service(instance: Instance, entry: AgentEntry) -> dict[str, Any]:
    """What Consul is told about one agent (HTTP API, "Service - Agent")."""
    return {
        "ID": f"{instance.host}/{instance.unit}/{entry.name}/{entry.replica}",
        "Name": entry.name,
        "Address": entry.bind,
        "Port": entry.port,
        "Meta": {"host": instance.host, "unit": instance.unit, "replica": str(entry.replica)},
        "Check": {"TTL": f"{TTL_SECONDS}s", "DeregisterCriticalServiceAfter": "10m", "Status": "passing"},
    }


async def register(
    consul: Consul, instance: Instance, entry: AgentEntry, find_problems: Callable[[], list[str]]
) -> None:
    """Keep an agent registered as a service, passing as long as it has no problems."""
    content = describe_service(instance, entry)
    try:
        while True:
            try:
                await _report(consul, content, find_problems())
            except BusError as error:
                log.warning("not registered: %s", error)
            await asyncio.sleep(RENEW_SECONDS)
    finally:
        # The process ends: nobody need wait for the check to fail.
        with contextlib.suppress(BusError, TimeoutError):
            async with asyncio.timeout(2):
                await consul.ask("PUT", f"agent/service/deregister/{quote(content['ID'], safe='')}")


async def _report(consul: Consul, content: dict[str, Any], problems: list[str]) -> None:
    """Say how the agent is, and who it is where the server does not know that yet: it, or another, was restarted."""
    check = quote(f"service:{content['ID']}", safe="")
    verb = "fail" if problems else "pass"
    note = f"?note={quote('; '.join(problems)[:200])}" if problems else ""
    for attempt in range(2):
        try:
            # Consul answers 404, before 1.14 500, for a check that it does not know.
            if await consul.ask("PUT", f"agent/check/{verb}/{check}{note}") is not None:
                return
        except BusError as error:
            if attempt or not ("nknown check" in str(error) or "does not have associated TTL" in str(error)):
                raise
        if not attempt:
            await consul.ask("PUT", "agent/service/register", json.dumps(content).encode())
