"""The services an instance needs: opening them, and asking again and again whether they answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runtime.breaker import CircuitBreakers
from agent_runtime.configuration import read_settings
from agent_runtime.instance import Endpoint, Instance, InstanceError, Service
from agent_runtime.options import option
from agent_runtime.secret import Secret, SecretError, read_secret
from agent_runtime.settings import RuntimeSettings
from agent_runtime.stores.redis_store import RedisOptions, RedisStore, StoreError
from agent_runtime.tls import Tls
from agent_runtime.work.requests import RequestClient, Requests

# The clients for NATS and PostgreSQL take 5 MB of memory: only processes that need them import them.
if TYPE_CHECKING:
    from agent_runtime.bus.connection import Bus
    from agent_runtime.stores.consul import Consul
    from agent_runtime.stores.database import Database, DatabaseOptions

log = logging.getLogger(__name__)
Check = Callable[[], Awaitable[None]]
SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.2, 5.0
# What NATS is told to take at most (its own default is 1 MiB).
LARGEST_REQUEST_BYTES = 10_485_760


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
    password = read_credential(service, environ) or location.redis_password
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


def read_credential(service: Service, environ: Mapping[str, str]) -> Secret | None:
    """Return a service's password, or None where its certificate alone tells who the process is.

    Raises:
        InstanceError: the file cannot be read.
    """
    if not service.credential:
        return None
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise InstanceError([f"services.{service.name}: CREDENTIALS_DIRECTORY is not set"])
    try:
        return read_secret(Path(folder) / service.credential)
    except SecretError as error:
        raise InstanceError([f"services.{service.name}: {error}"]) from None


def find_database(
    instance: Instance, settings: RuntimeSettings, environ: Mapping[str, str], tls: Tls | None
) -> DatabaseOptions | None:
    """Return how to reach the database that the instance file names, or None if it names none.

    Raises:
        InstanceError: the password's file cannot be read.
    """
    service = instance.first_service("postgresql")
    if service is None or service.database is None:
        return None
    from agent_runtime.stores.database import DatabaseOptions

    return DatabaseOptions(
        addresses=tuple((endpoint.address, endpoint.port) for endpoint in service.endpoints),
        username=service.username or instance.group,
        database=service.database,
        password=read_credential(service, environ),
        pool_size=settings.database_pool_size,
        timeout=settings.database_timeout,
        application=instance.unit,
        tls=(lambda: tls.client) if service.tls and tls else None,
    )


def _open_database(
    instance: Instance, settings: RuntimeSettings, environ: Mapping[str, str], tls: Tls | None
) -> Database | None:
    options = find_database(instance, settings, environ, tls)
    if options is None:
        return None
    from agent_runtime.stores.database import Database

    return Database(options)


def _open_consul(
    instance: Instance, settings: RuntimeSettings, environ: Mapping[str, str], tls: Tls | None
) -> Consul | None:
    service = instance.first_service("consul")
    if service is None:
        return None
    from agent_runtime.stores.consul import Consul

    return Consul(service, read_credential(service, environ), settings.nats_timeout, tls if service.tls else None)


class Services:
    """The clients of one process, each None where the instance file has no such service."""

    def __init__(self, instance: Instance, settings: RuntimeSettings, environ: Mapping[str, str]) -> None:
        """InstanceError: a password's file cannot be read; CertificateError: a certificate cannot be used."""
        self.tls = Tls(instance.tls) if instance.tls else None
        self.breakers = CircuitBreakers(settings.circuit_breaker_failures, settings.circuit_breaker_seconds)
        redis = find_redis(instance, settings, environ, self.tls)
        self.store = RedisStore(redis) if redis else None
        self.database = _open_database(instance, settings, environ, self.tls)
        self.bus: Bus | None = None
        self.requests: Requests | None = None
        nats = instance.first_service("nats")
        # Without subjects that it may use, a process only looks whether NATS is there.
        if nats is not None and nats.publish:
            self._open_bus(nats, instance, settings)
        elif self.store is not None:
            self.requests = RequestClient(self.store, settings.work_backlog)
        self.consul = _open_consul(instance, settings, environ, self.tls)
        for client in (self.store, self.database, self.bus):
            if self.tls is not None and client is not None:
                self.tls.on_change(client.renew)

    def _open_bus(self, service: Service, instance: Instance, settings: RuntimeSettings) -> None:
        from agent_runtime.bus.connection import Bus
        from agent_runtime.bus.requests import BusRequestClient

        name = f"{instance.host}/{instance.unit}"
        self.bus = Bus(service, name, instance.group, settings.nats_timeout, self.tls)
        self.requests = BusRequestClient(self.bus, self.breakers, LARGEST_REQUEST_BYTES)

    def start(self) -> None:
        """Begin to connect where a connection is kept up."""
        if self.bus is not None:
            self.bus.start()

    async def close(self) -> None:
        """Close all connections."""
        for client in (self.requests, self.bus, self.store, self.database):
            if client is not None:
                await client.close()


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


def _make_check(service: Service, seconds: float) -> Check:
    return lambda: check_endpoints(service, seconds)


class ServiceMonitor:
    """Knows the state of each service; whether the process is ready depends on the required ones."""

    def __init__(self, instance: Instance, services: Services, settings: RuntimeSettings) -> None:
        self.states: dict[str, str] = {}
        self.optional_states: dict[str, str] = {}
        self._checks: dict[str, Check] = {}
        clients = {
            "redis": services.store,
            "postgresql": services.database,
            "nats": services.bus,
            "consul": services.consul,
        }
        for service in instance.services.values():
            client = clients.get(service.kind)
            usable = client is not None and service is instance.first_service(service.kind)
            check = client.check if client and usable else _make_check(service, settings.redis_timeout)
            self._add(service.name, check, required=service.required)
        if services.store is not None and instance.first_service("redis") is None:
            self._add("redis", services.store.check)

    def _add(self, name: str, check: Check, *, required: bool = True) -> None:
        self._checks[name] = check
        (self.states if required else self.optional_states)[name] = "not checked yet"

    async def check_all(self) -> bool:
        """Ask every service once and tell whether all required ones answered."""
        await asyncio.gather(*(self._check(name) for name in self._checks))
        return all(state == "ok" for state in self.states.values())

    async def _check(self, name: str) -> None:
        states = self.states if name in self.states else self.optional_states
        before = states[name]
        try:
            await self._checks[name]()
            states[name] = "ok"
        except (StoreError, OSError) as error:
            states[name] = str(error)[:200] or type(error).__name__
        if states[name] != before:
            level = logging.INFO if states[name] == "ok" else logging.WARNING
            log.log(level, "service %s: %s", name, states[name])

    async def wait_until_ready(self) -> None:
        """Return when every required service answers; ask with growing pauses of 0.2 to 5 s."""
        pause = SHORTEST_WAIT_SECONDS
        while not await self.check_all():
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_WAIT_SECONDS)

    async def watch(self, seconds: float) -> None:
        """Keep asking every `seconds`."""
        while True:
            await asyncio.sleep(seconds)
            await self.check_all()
