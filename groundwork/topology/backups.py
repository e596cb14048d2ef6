"""The backup policy: from the manifest's ``backup`` section and the inventory to the jobs of every host."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest.backup import Backup, BackupItem, BackupRepository, Retention
from groundwork.manifest.platform import Platform
from groundwork.problems import Problem
from groundwork.topology.model import ServiceNode, Topology

CLIENT, SERVER = "backup", "backup-repository"
"""Units of the identities by which hosts with jobs know the hosts that keep their backups, and the other way round."""
MAIN = "main"
"""Name of the repository of ``backup.repository``; those of ``backup.copies`` are ``copy-1``, ``copy-2``, ..."""
CARRIED = ("authority", "secrets")
"""What lies on the controller: ``groundwork backup`` carries it to the first repository's host, encrypted as it is."""
SERVICES = ("postgresql", "redis", "nats")
"""What is backed up through a service; the others are files."""
ARCHIVED = ("postgresql",)
"""What has no job: pgBackRest archives it, from the host that keeps the archive (``groundwork.topology.archives``)."""
MISSING = {
    "kubernetes": "this version backs up no Kubernetes",
}
"""Kinds that the manifest can declare and no collector makes: left out by name, never silently."""
CONFIGURATION_PATHS = ("/etc", "/var/lib/groundwork/ledger", "/usr/local/lib/groundwork")
"""What ``configuration`` means besides an item's own paths."""


@dataclass(frozen=True, order=True)
class Repository:
    """Where the backups of one job go."""

    name: str
    """``main``, ``copy-1``, ``copy-2``, ..."""
    kind: str
    """``host`` (another host, over TLS) or ``directory`` (a path of the job's own host, such as a mounted share)."""
    path: str
    """The folder below which every item has its own repository."""
    encryption_secret: str
    host: str = ""
    """The host that keeps it, for ``host``."""
    address: str = ""
    port: int = 0


@dataclass(frozen=True)
class Job:
    """One item of the policy on one host."""

    item: str
    kind: str
    host: str
    schedule: str
    """When, in the words of systemd.time(7)."""
    full_schedule: str | None
    """PostgreSQL: when a full backup is made."""
    retention: Retention
    repositories: tuple[Repository, ...]
    service: str = ""
    nodes: tuple[ServiceNode, ...] = ()
    """The servers of the service on this host."""
    paths: tuple[str, ...] = ()
    """The files, for kinds that are files."""

    @property
    def only_here(self) -> bool:
        """Whether every repository lies on the job's own host, so that both are lost with it."""
        return all(one.kind == "host" and one.host == self.host for one in self.repositories)


def list_jobs(platform: Platform, topology: Topology) -> tuple[Job, ...]:
    """Return every job that is carried out, in the manifest's order; what is left out is ``list_left_out``'s."""
    return tuple(place_jobs(platform, topology.inventory, topology.nodes))


def jobs_on(platform: Platform, topology: Topology, host: str) -> tuple[Job, ...]:
    """Return the jobs of one host."""
    return tuple(job for job in list_jobs(platform, topology) if job.host == host)


def list_left_out(platform: Platform) -> dict[str, str]:
    """Return what the policy declares and this version does not do: place in the manifest to reason."""
    if platform.backup is None:
        return {}
    found = {f"backup.items.{n}": MISSING[i.what] for n, i in platform.backup.items.items() if i.what in MISSING}
    if platform.backup.copies:
        archived = [name for name, item in platform.backup.items.items() if item.what in ARCHIVED]
        told = "go to backup.repository alone: this version keeps no second archive of PostgreSQL"
        found |= {"backup.copies": f"{', '.join(archived)} {told}"} if archived else {}
    for key, _, repository in _declared_repositories(platform.backup):
        if repository.kind == "s3":
            found[key] = "this version uploads to no S3-compatible store yet"
    return found


def list_repositories(platform: Platform, inventory: Inventory) -> tuple[Repository, ...]:
    """Return the repositories that backups go to. Those without a host in the inventory are left out (and refused)."""
    if platform.backup is None:
        return ()
    return tuple(_place_repositories(platform.backup, inventory))


def repository_client(item: str) -> str:
    """The name by which the jobs of an item log in at a repository's server; it is also the item's folder there."""
    return item


def login_secret(item: str) -> str:
    """Name of the password with which the jobs of an item log in at a repository's server."""
    return f"backup_{item}".replace("-", "_")


def list_logins(platform: Platform) -> tuple[str, ...]:
    """Return the items whose jobs log in at a repository's server: all that are not left out."""
    if platform.backup is None or not any(one.kind == "host" for _, _, one in _declared_repositories(platform.backup)):
        return ()
    return tuple(name for name, item in platform.backup.items.items() if item.what not in (*MISSING, *ARCHIVED))


def check_policy(platform: Platform, inventory: Inventory, nodes: Iterable[ServiceNode]) -> Iterator[Problem]:
    """Yield everything of the policy that does not fit the inventory or itself."""
    if platform.backup is None:
        return
    known = sorted(inventory.groups)
    placed = {node.service for node in nodes}
    for key, _, repository in _declared_repositories(platform.backup):
        if repository.kind != "host" or repository.hosts is None:
            continue
        members = inventory.group(repository.hosts)
        if not members and key != "backup.repository":
            yield _no_group(f"{key}.hosts", repository.hosts, known)
        elif len(members) > 1:
            names = ", ".join(host.name for host in members)
            allowed = "a group of one host; further ones below backup.copies"
            yield Problem("one repository lies on one host", key=f"{key}.hosts", given=names, allowed=allowed)
    yield from _check_twice(platform.backup, inventory)
    for name, item in platform.backup.items.items():
        here = f"backup.items.{name}"
        if item.what in SERVICES:
            if item.service and item.service not in placed:
                message = "no host of the inventory runs this service, so nobody can back it up"
                yield Problem(message, key=f"{here}.service", given=item.service, allowed=", ".join(sorted(placed)))
            yield from _refuse_keys(here, item, ("hosts", "paths"))
        elif item.what in CARRIED:
            yield from _refuse_keys(here, item, ("hosts", "paths", "service"))
        else:
            yield from _refuse_keys(here, item, ("service",))
            if item.hosts is None:
                yield Problem(f"{item.what} need hosts", key=f"{here}.hosts", allowed=", ".join(known))
            elif item.hosts not in inventory.groups:
                yield _no_group(f"{here}.hosts", item.hosts, known)
        if item.full_schedule and item.what != "postgresql":
            allowed = "only for what: postgresql; the others' backups are all full"
            yield Problem("has no meaning here", key=f"{here}.full_schedule", given=item.what, allowed=allowed)
        kept = item.retention
        if not (kept.daily or kept.weekly or kept.monthly):
            yield Problem("keeps no backup at all", key=f"{here}.retention", allowed="at least one above 0")


def _refuse_keys(here: str, item: BackupItem, keys: tuple[str, ...]) -> Iterator[Problem]:
    for key in keys:
        value = getattr(item, key)
        if value:
            yield Problem(f"has no meaning for {item.what}", key=f"{here}.{key}", given=str(value))


def _check_twice(backup: Backup, inventory: Inventory) -> Iterator[Problem]:
    """Two repositories at one place would hold one set and count it twice."""
    owners: dict[tuple[str, str], str] = {}
    for key, _, one in _declared_repositories(backup):
        for place in [host.name for host in inventory.group(one.hosts)] if one.hosts else [one.endpoint or ""]:
            if one.kind == "s3":
                continue
            owner = owners.setdefault((place, one.path), key)
            if owner != key:
                yield Problem(f"is the same place as {owner}", key=f"{key}.path", given=one.path)


def _no_group(key: str, group: str, known: list[str]) -> Problem:
    nearest = difflib.get_close_matches(group, known, 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    message = f"the inventory has no hosts in this group{hint}"
    return Problem(message, key=key, given=group, allowed=", ".join(known))


def _declared_repositories(backup: Backup) -> Iterator[tuple[str, str, BackupRepository]]:
    """Place in the manifest, name, and declaration of every repository."""
    yield "backup.repository", MAIN, backup.repository
    for index, copy in enumerate(backup.copies):
        yield f"backup.copies.{index}", f"copy-{index + 1}", copy


def _place_repositories(backup: Backup, inventory: Inventory) -> Iterator[Repository]:
    for _, name, one in _declared_repositories(backup):
        if one.kind == "directory":
            yield Repository(name, one.kind, one.path, one.encryption_secret)
        elif one.kind == "host" and one.hosts:
            for host in inventory.group(one.hosts)[:1]:
                yield Repository(name, one.kind, one.path, one.encryption_secret, host.name, host.address, one.port)


def place_jobs(platform: Platform, inventory: Inventory, nodes: Iterable[ServiceNode]) -> Iterator[Job]:
    """Yield what ``list_jobs`` returns; for the topology while it is being derived."""
    if platform.backup is None:
        return
    repositories = tuple(_place_repositories(platform.backup, inventory))
    nodes = tuple(nodes)
    for name, item in platform.backup.items.items():
        if item.what in MISSING or item.what in ARCHIVED or not repositories:
            continue
        for host in _hosts_of(item, inventory, nodes, repositories):
            yield Job(
                item=name,
                kind=item.what,
                host=host.name,
                schedule=item.schedule,
                full_schedule=item.full_schedule,
                retention=item.retention,
                repositories=repositories,
                service=item.service or "",
                nodes=tuple(node for node in nodes if (node.service, node.host) == (item.service, host.name)),
                paths=_paths_of(platform.platform, name, item),
            )


def _hosts_of(
    item: BackupItem, inventory: Inventory, nodes: tuple[ServiceNode, ...], repositories: tuple[Repository, ...]
) -> list[InventoryHost]:
    if item.what in CARRIED:
        # Beside the repository, or on the first host where the repositories are folders.
        keeper = next((one.host for one in repositories if one.host), inventory.hosts[0].name)
        return [inventory.host(keeper)]
    if item.what not in SERVICES:
        return list(inventory.group(item.hosts or ""))
    serving = list(dict.fromkeys(node.host for node in nodes if node.service == item.service))
    # One server of a NATS snapshots the streams of all; each master of a Redis has keys of its own.
    return [inventory.host(name) for name in (serving[:1] if item.what == "nats" else serving)]


def _paths_of(platform: str, name: str, item: BackupItem) -> tuple[str, ...]:
    if item.what == "configuration":
        return tuple(dict.fromkeys([*CONFIGURATION_PATHS, *item.paths]))
    if item.what in CARRIED:
        return (carried_folder(platform, name),)
    return tuple(item.paths)


def carried_folder(platform: str, item: str) -> str:
    """Where ``groundwork backup`` puts what it carries from the controller, on the job's host."""
    return f"/var/lib/groundwork/backup-carried/{platform}/{item}"
