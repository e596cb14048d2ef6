"""What one PostgreSQL is: its names, files and folders on the host, and what its files say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from groundwork.authority import paths
from groundwork.manifest.services import PostgresqlService
from groundwork.topology.archives import Archive
from groundwork.topology.identities import pool_unit
from groundwork.topology.model import ServiceNode
from roles.postgresql.access import Login
from roles.postgresql.sizing import Sizes

CLUSTER = "main"
DROP_IN = "50-groundwork.conf"
POOL_UNIT = "pgbouncer.service"
POOL_FOLDER = "/etc/pgbouncer/groundwork"
POOL_SOCKETS = "/run/pgbouncer-groundwork"
SOCKETS = "/var/run/postgresql"
# Packages of extensions that are not part of PostgreSQL's own (packages.debian.org).
EXTENSION_PACKAGES = {
    "vector": "pgvector",
    "postgis": "postgis-3",
    "pg_cron": "cron",
    "pgaudit": "pgaudit",
    "hypopg": "hypopg",
    "pg_partman": "partman",
}
PRELOADED = ("pg_stat_statements", "pgaudit", "pg_cron")


@dataclass(frozen=True)
class Server:
    """One server: everything its files say."""

    platform: str
    service: str
    node: ServiceNode
    declared: PostgresqlService
    version: int
    sizes: Sizes
    logins: tuple[Login, ...]
    primary: ServiceNode
    replicas: tuple[ServiceNode, ...]
    archive: Archive | None = None
    """Where its log is archived, if anywhere."""

    @property
    def is_primary(self) -> bool:
        """Whether it is the one that takes writes."""
        return self.node.role == "primary"

    @property
    def unit(self) -> str:
        """Its unit, an instance of Debian's template."""
        return f"postgresql@{self.version}-{CLUSTER}.service"

    @property
    def folder(self) -> str:
        """Its configuration folder, as Debian's tools know it."""
        return f"/etc/postgresql/{self.version}/{CLUSTER}"

    @property
    def data_folder(self) -> str:
        """Where its data lies."""
        return f"/var/lib/postgresql/{self.version}/{CLUSTER}"

    @property
    def programs(self) -> str:
        """Folder of its version's programs."""
        return f"/usr/lib/postgresql/{self.version}/bin"

    @property
    def settings_file(self) -> str:
        """Our settings, read after Debian's."""
        return f"{self.folder}/conf.d/{DROP_IN}"

    @property
    def access_file(self) -> str:
        """The rules for connections, in the place of pg_hba.conf."""
        return f"{self.folder}/groundwork_hba.conf"

    @property
    def mapping_file(self) -> str:
        """The certificates' roles, in the place of pg_ident.conf."""
        return f"{self.folder}/groundwork_ident.conf"

    @property
    def drop_in(self) -> str:
        """Our additions to its unit."""
        return f"/etc/systemd/system/{self.unit}.d/{DROP_IN}"

    @property
    def identity(self) -> str:
        """Unit of its certificate."""
        return f"{self.service}-{self.node.index}"

    @property
    def pool_identity(self) -> str:
        """Unit of its PgBouncer's certificate."""
        return pool_unit(self.service, self.node.index)

    @property
    def certificate_inputs(self) -> list[str]:
        """What it has to read again when certificates change."""
        return paths.reload_inputs(self.platform, self.identity)

    @property
    def pool_inputs(self) -> list[str]:
        """The same for its PgBouncer."""
        return paths.reload_inputs(self.platform, self.pool_identity)

    @property
    def packages(self) -> list[str]:
        """Debian's packages for it."""
        names = {n for database in self.declared.databases.values() for n in database.extensions}
        extra = [f"postgresql-{self.version}-{EXTENSION_PACKAGES[n]}" for n in sorted(names & {*EXTENSION_PACKAGES})]
        pool = ["pgbouncer"] if self.has_pool else []
        archiving = ["pgbackrest"] if self.archive else []
        return [f"postgresql-{self.version}", *extra, *pool, *archiving]

    @property
    def preloaded(self) -> list[str]:
        """Libraries that extensions need from the start."""
        names = {n for database in self.declared.databases.values() for n in database.extensions}
        return [name for name in PRELOADED if name in names]

    @property
    def has_pool(self) -> bool:
        """Whether a PgBouncer stands in front of it."""
        return self.declared.pgbouncer is not None and self.is_primary

    @property
    def peers(self) -> list[str]:
        """Addresses of other hosts that may connect to it."""
        clients = () if self.declared.pgbouncer else (a for login in self.logins for a in login.addresses)
        others = [node.address for node in (self.primary, *self.replicas)]
        # pgBackRest runs as a child of the server.
        keeper = {self.archive.keeper_address} if self.archive and self.archive.is_remote else set()
        met = {*clients, *others, *keeper} if self.is_primary else {self.primary.address}
        return sorted(met - {self.node.address})

    @property
    def local_archive(self) -> str:
        """Folder of the archive on its own host, into which it writes itself; empty where there is none."""
        return self.archive.path if self.archive and not self.archive.is_remote and self.is_primary else ""

    @property
    def written_folders(self) -> list[str]:
        """Where it and what it starts may write."""
        return [self.data_folder, "/run/postgresql", *([f"-{self.local_archive}"] if self.local_archive else [])]

    @property
    def maintains_partitions(self) -> bool:
        """Whether a timer has partitions to make and to drop."""
        return self.is_primary and any(database.partitions for database in self.declared.databases.values())


def slot_name(host: str) -> str:
    """Name of a replica's replication slot: lower case letters, digits and underscores (PostgreSQL, 26.2.6)."""
    return f"groundwork_{re.sub(r'[^a-z0-9]', '_', host.lower())}"[:63]


def helpers_folder(platform: str) -> str:
    """Where the scripts that systemd and the checks call lie."""
    return f"/usr/local/lib/groundwork/{platform}"


def timer_unit(platform: str) -> str:
    """Name, without suffix, of the units that look after partitions."""
    return f"{platform}-postgresql-partitions"
