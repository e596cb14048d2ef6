"""The services an instance needs: opening them, and asking again and again whether they answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent_runtime.configuration import read_settings
from agent_runtime.instance import Endpoint, Instance, InstanceError, Service
from agent_runtime.options import option
from agent_runtime.secret import Secret, SecretError, read_secret
from agent_runtime.settings import RuntimeSettings
from agent_runtime.stores.redis_store import RedisOptions, RedisStore, StoreError
from agent_runtime.tls import Tls

log = logging.getLogger(__name__)
Check = Callable[[], Awaitable[None]]
SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0


@dataclass(frozen=True)
class RedisLocation:
    """Redis as the environment names it, for processes whose instance file names none."""

    redis_host: str | None = option("Host of Redis.", default=None)
    redis_port: int = option("Port of Redis.", default=6379, minimum=1, maximum=65535)
    redis_username: str | None = option("User at Redis.", default=None)
    redis_password: Secret | None = option("Password at Redis.", default=None)
    redis_db: int = option("Number of the database.", default=0, minimum=0, maximum=15)


def find_redis(
    instance: Instance, settings: RuntimeSettings, environ: Mapping[str, str], tls: Tls | None = None
) -> RedisOptions | None:
    """Return how to reach Redis: as the instance file says, else as the environment says, else None.

    Raises:
        InstanceError: the password's file cannot be read.
    """
    location = read_settings(RedisLocation, {} if instance.first_service("redis") else environ)
    service = instance.first_service("redis")
    if service is None:
        if location.redis_host is None:
            return None
        endpoint = Endpoint(location.redis_host, location.redis_host, location.redis_port)
        service = Service("redis", "redis", (endpoint,), location.redis_username, keys=(f"{instance.platform}:*",))
    password = location.redis_password
    if service.credential:
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise InstanceError([f"services.{service.name}: CREDENTIALS_DIRECTORY is not set"])
        try:
            password = read_secret(Path(folder) / service.credential)
        except SecretError as error:
            raise InstanceError([f"services.{service.name}: {error}"]) from None
    database = environ.get("REDIS_DB", "0")
    pattern = service.keys[0] if service.keys else f"{instance.platform}:*"
    return RedisOptions(
        endpoints=tuple((endpoint.address, endpoint.port) for endpoint in service.endpoints),
        username=service.username,
        password=password,
        database=int(database) if database.isdecimal() else 0,
        pool_size=settings.redis_pool_size,
        timeout=settings.redis_timeout,
        prefix=pattern.rstrip("*"),
        mode=service.mode,
        tls=(lambda: tls.client) if service.tls and tls else None,
    )


async def check_endpoints(service: Service, seconds: float) -> None:
    """Raise OSError unless one of a service's endpoints accepts a connection: the check for kinds without a store."""
    failure = OSError("no endpoint")
    for endpoint in service.endpoints:
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(endpoint.address, endpoint.port)
            writer.close()
            return
        except (OSError, TimeoutError) as error:
            failure = OSError(str(error) or "timed out")
    raise failure


class ServiceMonitor:
    """Knows the state of each required service."""

    def __init__(self, instance: Instance, store: RedisStore | None, settings: RuntimeSettings) -> None:
        self.states: dict[str, str] = {}
        self._checks: dict[str, Check] = {}
        for service in instance.services.values():
            self._add(service.name, self._choose_check(service, store, settings.redis_timeout))
        if store is not None and instance.first_service("redis") is None:
            self._add("redis", store.check)

    @staticmethod
    def _choose_check(service: Service, store: RedisStore | None, seconds: float) -> Check:
        if service.kind == "redis" and store is not None:
            return store.check
        return lambda: check_endpoints(service, seconds)

    def _add(self, name: str, check: Check) -> None:
        self._checks[name] = check
        self.states[name] = "not checked yet"

    async def check_all(self) -> bool:
        """Ask every service once and tell whether all answered."""
        await asyncio.gather(*(self._check(name) for name in self._checks))
        return all(state == "ok" for state in self.states.values())

    async def _check(self, name: str) -> None:
        before = self.states[name]
        try:
            await self._checks[name]()
            self.states[name] = "ok"
        except (StoreError, OSError) as error:
            self.states[name] = str(error)[:200] or type(error).__name__
        if self.states[name] != before:
            level = logging.INFO if self.states[name] == "ok" else logging.WARNING
            log.log(level, "service %s: %s", name, self.states[name])

    async def wait_until_ready(self) -> None:
        """Return when every service answers; ask with growing pauses of 0.2 to 5 s."""
        pause = SHORTEST_WAIT_SECONDS
        while not await self.check_all():
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_WAIT_SECONDS)

    async def watch(self, seconds: float) -> None:
        """Keep asking every `seconds`."""
        while True:
            await asyncio.sleep(seconds)
            await self.check_all()
