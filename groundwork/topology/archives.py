"""Which PostgreSQL is archived where: what its role, the backup's and the topology have to agree on. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from groundwork.inventory import Inventory
from groundwork.manifest.backup import Retention
from groundwork.manifest.platform import Platform
from groundwork.topology.model import ServiceNode, Topology

PORT = 8432
"""Where pgBackRest's server answers (its manual, ``tls-server-port``)."""
KEEPER = "pgbackrest"
"""Unit and account of the identity of a host that keeps archives."""
VERSIONS = {"12": 15, "13": 17}
"""Debian's release to its PostgreSQL (packages.debian.org)."""
LONGEST_WAIT = 60
"""Seconds after which a begun segment of the log is archived at most: reasonable, as PostgreSQL's manual has it."""
SHARE_OF_OBJECTIVE = 3
"""A segment is archived three times within the age of data that may be lost, so that one failure does not miss it."""


@dataclass(frozen=True, order=True)
class Archive:
    """The archive of one PostgreSQL service: full and differential backups, and the log between them."""

    platform: str
    service: str
    item: str
    """Name of the item in the backup policy."""
    database: ServiceNode
    """The primary."""
    database_address: str
    path: str
    """The repository's folder."""
    encryption_secret: str
    schedule: str
    full_schedule: str | None
    retention: Retention
    archive_timeout: int
    """Seconds after which PostgreSQL hands a begun segment of its log over."""
    keeper: str = ""
    """Name of the host that keeps it; empty where it is a folder of the database's own host."""
    keeper_address: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether another host keeps it."""
        return bool(self.keeper)

    @property
    def host(self) -> str:
        """The host on which backups are made: pgBackRest makes them where the repository lies."""
        return self.keeper or self.database.host

    @property
    def stanza(self) -> str:
        """pgBackRest's name for it."""
        return f"{self.platform}-{self.service}"

    @property
    def folder(self) -> str:
        """Folder of every file that pgBackRest reads."""
        return settings_folder(self.platform)

    @property
    def configuration(self) -> str:
        """pgBackRest's settings for it, the same path on both hosts."""
        return f"{self.folder}/{self.service}.conf"

    @property
    def identity(self) -> str:
        """Unit of the certificate by which the database's host hands the log over and lets backups be read."""
        return database_unit(self.service, self.database.index)

    @property
    def account(self) -> str:
        """Common name of that certificate: what it opens at the keeper is this archive and no other."""
        return database_account(self.service)

    @property
    def command(self) -> str:
        """What PostgreSQL calls for each finished segment of its log."""
        return f'pgbackrest --config={self.configuration} --stanza={self.stanza} archive-push "%p"'


def settings_folder(platform: str) -> str:
    """Folder of pgBackRest's settings of one platform."""
    return f"/etc/groundwork/{platform}/pgbackrest"


def database_unit(service: str, index: int) -> str:
    """Name of the identity of a database's side."""
    return f"{service}-pgbackrest-{index}"


def database_account(service: str) -> str:
    """Common name of the certificate of a database's side."""
    return f"{KEEPER}-{service}"


def place_archives(platform: Platform, inventory: Inventory, nodes: Iterable[ServiceNode]) -> Iterator[Archive]:
    """Yield the archive of each PostgreSQL that the policy names; the first item that names a service counts.

    A repository in an S3-compatible store gives none: this version has not been tried with one.
    """
    policy = platform.backup
    if policy is None or policy.repository.kind == "s3":
        return
    repository = policy.repository
    primaries = {node.service: node for node in nodes if node.kind == "postgresql" and node.role != "replica"}
    done: set[str] = set()
    for name, item in policy.items.items():
        service = item.service or ""
        primary = primaries.get(service)
        if item.what != "postgresql" or primary is None or service in done:
            continue
        done.add(service)
        keepers = inventory.group(repository.hosts)[:1] if repository.kind == "host" and repository.hosts else ()
        if repository.kind == "host" and not keepers:
            continue
        remote = [host for host in keepers if host.name != primary.host]
        yield Archive(
            platform=platform.platform,
            service=service,
            item=name,
            database=primary,
            database_address=primary.address,
            path=f"{repository.path}/pgbackrest/{service}",
            encryption_secret=repository.encryption_secret,
            schedule=item.schedule,
            full_schedule=item.full_schedule,
            retention=item.retention,
            archive_timeout=_choose_timeout(platform),
            keeper=remote[0].name if remote else "",
            keeper_address=remote[0].address if remote else "",
        )


def _choose_timeout(platform: Platform) -> int:
    """A third of the declared recovery point objective, a minute at most, five seconds at least."""
    if platform.recovery is None:
        return LONGEST_WAIT
    return max(5, min(LONGEST_WAIT, int(platform.recovery.rpo) // SHARE_OF_OBJECTIVE))


def list_archives(platform: Platform, topology: Topology) -> tuple[Archive, ...]:
    """Return the archives of a platform, in the policy's order."""
    return tuple(place_archives(platform, topology.inventory, topology.nodes))


def archive_of(platform: Platform, topology: Topology, service: str) -> Archive | None:
    """Return the archive of one PostgreSQL service, None where nothing archives it."""
    return next((one for one in list_archives(platform, topology) if one.service == service), None)


def hosts_with_archives(topology: Topology) -> frozenset[str]:
    """Return the hosts that have a part in an archive: those that keep one, and those whose database is archived."""
    keepers = {need.host for need in topology.secret_needs if need.unit == KEEPER}
    units = {database_unit(node.service, node.index) for node in topology.nodes if node.kind == "postgresql"}
    return frozenset(keepers | {one.host for one in topology.identities if one.unit in units})
