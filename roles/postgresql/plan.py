"""What the PostgreSQL of one host is to be, decided from the manifest and a few facts about the host."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

from groundwork.authority import paths
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import PostgresqlService
from groundwork.operations.ledger_items import PREFIXES, Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.identities import pool_unit
from groundwork.topology.model import ServiceNode, Topology
from roles.postgresql.access import Login, list_logins
from roles.postgresql.sizing import Resources, Sizes, compute_memory, compute_sizes
from roles.postgresql.versions import choose_version

CLUSTER = "main"
DROP_IN = "50-groundwork.conf"
POOL_UNIT = "pgbouncer.service"
POOL_FOLDER = "/etc/pgbouncer/groundwork"
POOL_SOCKETS = "/run/pgbouncer-groundwork"
SOCKETS = "/var/run/postgresql"
LEDGER_PREFIXES = (*PREFIXES, "/etc/postgresql/", "/etc/pgbouncer/")
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
        return [f"postgresql-{self.version}", *extra, *pool]

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
        return sorted({*clients, *others} - {self.node.address}) if self.is_primary else [self.primary.address]

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


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError with everything that this role cannot set up, for all hosts at once."""
    problems: list[Problem] = []
    nodes = [node for node in topology.nodes if node.kind == "postgresql"]
    for name in dict.fromkeys(node.service for node in nodes):
        try:
            logins = list_logins(platform, topology, name)
        except ProblemError as error:
            problems += error.problems
            continue
        own = {node.address for node in nodes if node.service == name}
        for address in sorted({*own, *(a for login in logins for a in login.addresses)}):
            if not _is_address(address):
                hosts = ", ".join(host.name for host in topology.hosts if host.address == address)
                message = f"{name} needs the IP address of this host"
                problems.append(Problem(message, key=f"host {hosts}: address", given=address))
    for host in dict.fromkeys(node.host for node in nodes):
        services = [node.service for node in nodes if node.host == host]
        if len(services) > 1:
            message = f"host {host} would carry more than one PostgreSQL"
            problems.append(Problem(message, key="services", given=", ".join(services), allowed="one for each host"))
    if problems:
        raise ProblemError(dict.fromkeys(problems))


def plan_server(
    platform: Platform,
    topology: Topology,
    host: str,
    resources: Resources,
    release: str,
    offered: Collection[int],
    existing: Collection[int],
) -> Server | None:
    """Return the server of one host, None where it has none; the other arguments are facts about the host."""
    nodes = topology.nodes_on(host, "postgresql")
    if not nodes:
        return None
    node = nodes[0]
    declared = platform.services[node.service]
    assert isinstance(declared, PostgresqlService)
    logins = list_logins(platform, topology, node.service)
    key = f"services.{node.service}"
    beside = any(other.kind != "postgresql" for other in topology.nodes_on(host))
    memory = declared.memory_max or compute_memory(resources, bool(topology.processes_on(host)), beside)
    pools = sum(len(login.rights) for login in logins)
    pooled = declared.pgbouncer.default_pool_size * pools if declared.pgbouncer else None
    peers = [n for n in topology.nodes if n.service == node.service]
    return Server(
        platform=platform.platform,
        service=node.service,
        node=node,
        declared=declared,
        version=choose_version(node.service, declared, release, offered, existing),
        sizes=compute_sizes(key, memory, resources, declared.maximum_connections, pooled),
        logins=logins,
        primary=next(n for n in peers if n.role == "primary"),
        replicas=tuple(n for n in peers if n.role == "replica"),
    )


def list_items(server: Server | None) -> list[Item]:
    """What is removed when it is no longer declared: no data, and no package."""
    if server is None:
        return []
    helpers = helpers_folder(server.platform)
    items = [Item("file", f"{helpers}/{name}") for name in ("postgresql-try", "postgresql-follow")]
    items += [Item("file", server.access_file), Item("file", server.mapping_file), Item("file", server.settings_file)]
    items.append(Item("file", server.drop_in))
    if server.maintains_partitions:
        timer = timer_unit(server.platform)
        items += [Item("unit", f"{timer}.service"), Item("unit", f"{timer}.timer")]
    if server.has_pool:
        items.append(Item("file", f"{helpers}/pgbouncer-try"))
        items.append(Item("directory", POOL_FOLDER))
        items.append(Item("file", f"/etc/systemd/system/{POOL_UNIT}.d/{DROP_IN}"))
    return items


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
