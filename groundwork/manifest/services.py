"""Services that agents need: data stores, messaging, and what lies outside the platform."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from groundwork.manifest.streams import Stream
from groundwork.manifest.values import Count, Duration, Flag, HostGroup, Model, Name, Port, Protocol, Size, Version


class RedisSnapshot(Model):
    """Write a snapshot after ``seconds`` if at least ``changes`` keys changed."""

    seconds: Count
    changes: Annotated[int, Field(strict=True, ge=1)]


class RedisPersistence(Model):
    """How Redis keeps its data over a restart."""

    append_only: Flag = True
    append_fsync: Literal["always", "everysec", "no"] = "everysec"
    snapshots: list[RedisSnapshot] = [
        RedisSnapshot(seconds=3600, changes=1),
        RedisSnapshot(seconds=300, changes=100),
        RedisSnapshot(seconds=60, changes=10_000),
    ]


class RedisUser(Model):
    """A client of Redis that is no agent group: an operator's tool, an exporter."""

    keys: list[str] = []
    channels: list[str] = []
    commands: list[str] = ["@read", "@connection"]
    """ACL command rules without their sign: categories (``@read``) or commands (``get``)."""


class RedisService(Model):
    """Redis: one server, a master with replicas, or a cluster."""

    kind: Literal["redis"]
    description: str = ""
    minimum_version: Version | None = None
    """Oldest version that serves the platform; checked against what the release's packages offer."""
    hosts: HostGroup
    port: Port = 6379
    mode: Literal["standalone", "replicated", "cluster"] = "standalone"
    nodes_per_host: Annotated[int, Field(strict=True, ge=1, le=16)] = 1
    """Servers on each host; node n listens on ``port + n - 1``."""
    replicas_per_master: Annotated[int, Field(strict=True, ge=0, le=5)] = 0
    """Cluster: replicas for each master. Replicated: all servers but the first are replicas."""
    memory_max: Size | None = None
    """Data at most; computed from the host where left out."""
    memory_policy: Literal[
        "noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu",
        "volatile-random", "volatile-ttl",
    ] = "noeviction"  # fmt: skip
    databases: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    maximum_clients: Annotated[int, Field(strict=True, ge=10, le=100_000)] = 1000
    persistence: RedisPersistence = RedisPersistence()
    users: dict[Name, RedisUser] = {}


class Partitioning(Model):
    """Range partitions of a table by time."""

    table: Name
    column: Name
    interval: Literal["day", "week", "month"] = "month"
    keep: Annotated[int, Field(strict=True, ge=1, le=600)] = 12
    """Partitions kept."""
    ahead: Annotated[int, Field(strict=True, ge=1, le=60)] = 3
    """Partitions made in advance."""


class Database(Model):
    """One database with its owner."""

    owner: Name | None = None
    """Role that owns it; a role named like the database where left out."""
    extensions: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]] = []
    migrations: str | None = None
    """Folder of versioned SQL files (``0001_name.sql``), from the manifest's folder."""
    partitions: list[Partitioning] = []


class PgBouncer(Model):
    """Connection pooling in front of PostgreSQL."""

    port: Port = 6432
    pool_mode: Literal["transaction", "session", "statement"] = "transaction"
    default_pool_size: Count = 20
    maximum_client_connections: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 1000


class PostgresqlService(Model):
    """PostgreSQL with databases, optional pooling and streaming replicas."""

    kind: Literal["postgresql"]
    description: str = ""
    minimum_version: Version | None = None
    """Oldest version that serves the platform; checked against what the release's packages offer."""
    hosts: HostGroup
    """Hosts of the primary: the first host of the group is it, the others are streaming replicas."""
    port: Port = 5432
    version: Annotated[int, Field(strict=True, ge=13, le=20)] | None = None
    """Major version; the release's own where left out (15 on Debian 12, 17 on Debian 13)."""
    databases: Annotated[dict[Name, Database], Field(min_length=1)]
    pgbouncer: PgBouncer | None = None
    maximum_connections: Annotated[int, Field(strict=True, ge=10, le=10_000)] | None = None
    """Computed from the host where left out."""
    memory_max: Size | None = None
    """Memory it may plan with; computed from the host where left out."""


class JetStream(Model):
    """Limits of NATS persistence."""

    memory_max: Size = 268_435_456
    file_max: Size = 2_147_483_648


class NatsService(Model):
    """NATS, one server or a cluster of all hosts of the group."""

    kind: Literal["nats"]
    description: str = ""
    minimum_version: Version | None = None
    """Oldest version that serves the platform; checked against what the release's packages offer."""
    hosts: HostGroup
    port: Port = 4222
    monitoring_port: Port = 8222
    """Listens on the host itself only."""
    cluster_port: Port = 6222
    mode: Literal["standalone", "cluster"] = "standalone"
    jetstream: JetStream | None = None
    maximum_payload: Size = 1_048_576
    key_value_buckets: list[Name] = []
    """JetStream key-value stores, used for configuration and discovery where there is no Consul."""
    streams: dict[Name, Stream] = {}
    """Messages that JetStream keeps until somebody has taken them, or for a time."""


class ConsulService(Model):
    """Consul, from its vendor's package source: one server, or a cluster of all hosts of the group."""

    kind: Literal["consul"]
    description: str = ""
    version: Version | None = None
    """Release to install, such as ``"1.20.1"``; the newest that the repository has where left out."""
    hosts: HostGroup
    port: Port = 8501
    """HTTPS; the plain HTTP port stays closed."""
    rpc_port: Port = 8300
    """Between the servers."""
    gossip_port: Port = 8301
    """Between the servers, TCP and UDP."""


class ExternalService(Model):
    """Something outside the platform that agents call, such as a language model's API."""

    kind: Literal["external"]
    description: str = ""
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$", max_length=253)]
    """Host name or IP address."""
    port: Port = 443
    protocol: Protocol = "tcp"
    scheme: Literal["https", "http", "tcp", "kafka"] = "https"
    timeout: Duration = 30.0


Service = Annotated[
    RedisService | PostgresqlService | NatsService | ConsulService | ExternalService,
    Field(discriminator="kind"),
]
HostedService = RedisService | PostgresqlService | NatsService | ConsulService
SERVICE_KINDS = ("redis", "postgresql", "nats", "consul", "external")
