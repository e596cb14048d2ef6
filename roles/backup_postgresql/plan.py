"""What a host has to do with the archives of PostgreSQL, decided from the manifest and the topology. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from groundwork.addresses import is_address
from groundwork.authority import paths
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import PostgresqlService
from groundwork.operations.ledger_items import PREFIXES, Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.accounts import service_user
from groundwork.topology.archives import KEEPER, VERSIONS, Archive, list_archives
from groundwork.topology.model import Topology

PACKAGE = "pgbackrest_admin"
"""The program's package on the hosts."""
WEEK = 7 * 86_400
MEBIBYTE = 1024**2
QUEUE_STEP = 64 * MEBIBYTE
SMALLEST_QUEUE, LARGEST_QUEUE = 4 * QUEUE_STEP, 1024 * QUEUE_STEP
SETTLED = 9_999_999
"""pgBackRest's largest ``repo-retention-full``: it expires nothing by itself, the program does by days and months."""
LEDGER_PREFIXES = PREFIXES


@dataclass(frozen=True)
class Side:
    """What one host does for one archive."""

    archive: Archive
    declared: PostgresqlService
    keeps: bool
    """Whether the repository lies here, and backups are made here."""
    holds_database: bool
    replicas: tuple[str, ...] = ()
    """Hosts of the database's replicas."""

    @property
    def account(self) -> str:
        """The system user that pgBackRest runs as here."""
        return service_user("postgresql" if self.holds_database else KEEPER).name

    @property
    def is_remote(self) -> bool:
        """Whether the other side is another host."""
        return self.archive.is_remote

    @property
    def peer_address(self) -> str:
        """Address of the other host."""
        return self.archive.keeper_address if self.holds_database else self.archive.database_address

    @property
    def peer_name(self) -> str:
        """Name of the other host, as its certificate says it."""
        return (self.archive.keeper if self.holds_database else self.archive.database.host).removeprefix("@ssh/")

    @property
    def address(self) -> str:
        """Address of this host."""
        return self.archive.database_address if self.holds_database else self.archive.keeper_address

    @property
    def identity(self) -> str:
        """Unit of the certificate of this side."""
        return self.archive.identity if self.holds_database else KEEPER

    @property
    def peer_account(self) -> str:
        """Common name of the certificate that may use this side."""
        return KEEPER if self.holds_database else self.archive.account

    @property
    def certificate_inputs(self) -> list[str]:
        """What its server has to read again when certificates change."""
        return paths.reload_inputs(self.archive.platform, self.identity)

    @property
    def settings_file(self) -> str:
        """What the program is told."""
        return f"{self.archive.folder}/{self.archive.service}.json"

    @property
    def backup_unit(self) -> str:
        """Template of the units that make a backup; the instance says of which kind."""
        return f"{self.archive.platform}-pgbackrest-{self.archive.service}@.service"

    def timers(self) -> dict[str, str]:
        """Calendar of each timer by the kind of backup that it starts."""
        full = {"full": self.archive.full_schedule} if self.archive.full_schedule else {}
        return {**full, "diff": self.archive.schedule} if self.keeps else {}

    def timer_unit(self, kind: str) -> str:
        """Name of a timer."""
        return f"{self.archive.platform}-pgbackrest-{self.archive.service}-{kind}.timer"


def state_folder(platform: str, account: str) -> str:
    """Folder of an account's own for locks and figures."""
    return f"/var/lib/groundwork/pgbackrest/{platform}-{account}"


def restores_folder(platform: str) -> str:
    """Folder with the state of restores."""
    return f"/var/lib/groundwork/restores/{platform}"


def server_unit(platform: str) -> str:
    """pgBackRest's server, by which the other side comes in."""
    return f"{platform}-pgbackrest.service"


def library_folder(platform: str) -> str:
    """Where the program's package lies."""
    return f"/usr/local/lib/groundwork/{platform}"


def program_path(platform: str) -> str:
    """The command that people, units and the controller call: ``pgbackrest-admin SERVICE VERB``."""
    return f"{library_folder(platform)}/pgbackrest-admin"


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError with everything that cannot be archived as it is declared, for all hosts at once."""
    problems: list[Problem] = []
    archives = list_archives(platform, topology)
    if platform.backup and platform.backup.repository.kind == "s3":
        for name, item in platform.backup.items.items():
            if item.what == "postgresql":
                told = "PostgreSQL is not backed up to S3-compatible stores in this version"
                problems.append(Problem(told, key=f"backup.items.{name}", given="s3", allowed="host, directory"))
    names = {KEEPER, *(one.account for one in archives)}
    for name in platform.groups:
        if name in names:
            problems.append(Problem("is the name of pgBackRest's certificates", key=f"groups.{name}", given=name))
    for one in archives:
        for host, address in ((one.keeper, one.keeper_address), (one.database.host, one.database_address)):
            if one.is_remote and not is_address(address):
                told = "pgBackRest needs the IP address of this host"
                problems.append(Problem(told, key=f"host {host}: address", given=address))
    if problems:
        raise ProblemError(dict.fromkeys(problems))


def plan_sides(platform: Platform, topology: Topology, host: str) -> list[Side]:
    """Return what a host does for each archive that it has a part in."""
    sides = []
    for one in list_archives(platform, topology):
        declared = platform.services[one.service]
        assert isinstance(declared, PostgresqlService)
        if host in (one.host, one.database.host):
            others = (node for node in topology.nodes if node.service == one.service and node.role == "replica")
            side = Side(one, declared, host == one.host, host == one.database.host, tuple(n.host for n in others))
            sides.append(side)
    return sides


def choose_version(declared: PostgresqlService, release: str, existing: Sequence[int]) -> int:
    """Major version of the database's host; 0 where nothing tells. As the role postgresql chooses it."""
    return declared.version or VERSIONS.get(release) or max(existing, default=0)


def choose_queue(disk: int) -> int:
    """Bytes of log that may wait for a repository that is away: an eighth of the disk, 256 MiB to 64 GiB.

    Beyond it pgBackRest lets PostgreSQL throw log away, so that the disk does not fill up and stop the database; the
    moments in it cannot be restored, and the next backup makes the archive whole again.
    """
    return max(SMALLEST_QUEUE, min(LARGEST_QUEUE, disk // 8 // QUEUE_STEP * QUEUE_STEP))


def describe_side(side: Side, version: int) -> str:
    """The settings that the program reads."""
    one = side.archive
    kept = one.retention
    state = state_folder(one.platform, side.account)
    document: dict[str, object] = {
        "platform": one.platform,
        "service": one.service,
        "item": one.item,
        "stanza": one.stanza,
        "configuration": one.configuration,
        "account": side.account,
        "state": state,
        "metrics": f"{state}/{one.service}.prom" if side.keeps else "",
        "daily": kept.daily,
        "weekly": kept.weekly,
        "monthly": kept.monthly,
        "full_every": 0 if one.full_schedule else WEEK,
        "schedule": one.schedule,
        "timers": [side.timer_unit(kind) for kind in side.timers()],
    }
    if side.holds_database:
        document |= {
            "unit": f"postgresql@{version}-main.service",
            "pool_unit": "pgbouncer.service" if side.declared.pgbouncer else "",
            "port": one.database.port,
            "data": f"/var/lib/postgresql/{version}/main",
            "databases": sorted(side.declared.databases),
            "replicas": sorted(side.replicas),
            "restores": restores_folder(one.platform),
        }
    return json.dumps(document, indent=1) + "\n"


def list_items(platform: str, sides: Sequence[Side]) -> list[Item]:
    """What is removed when it is no longer declared: no repository, no state, no package."""
    if not sides:
        return []
    items = [Item("unit", server_unit(platform))] if any(side.is_remote for side in sides) else []
    for side in sides:
        items += [Item("unit", side.timer_unit(kind)) for kind in side.timers()]
        items += [Item("unit", side.backup_unit)] if side.keeps else []
    folder = sides[0].archive.folder
    return [*items, Item("file", program_path(platform)), *_folders(platform), Item("directory", folder)]


def _folders(platform: str) -> list[Item]:
    return [Item("directory", f"{library_folder(platform)}/{PACKAGE}")]
