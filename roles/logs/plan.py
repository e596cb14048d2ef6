"""What of the role one host has: it sends its journal, and the log host keeps those of all."""

from __future__ import annotations

from dataclasses import dataclass

from groundwork.addresses import is_address, join
from groundwork.authority import paths
from groundwork.manifest.platform import Platform
from groundwork.manifest.values import format_size
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.identities import (
    JOURNAL_STORE,
    JOURNAL_UPLOAD,
    find_journal_store,
    journal_account,
    journal_source,
)
from groundwork.topology.journals import store_folder
from groundwork.topology.model import Topology

PACKAGE = "systemd-journal-remote"
PACKAGE_UNITS = (
    "systemd-journal-remote.socket",
    "systemd-journal-remote.service",
    "systemd-journal-gatewayd.socket",
    "systemd-journal-gatewayd.service",
    "systemd-journal-upload.service",
)
"""The package's own: they listen to everybody or know no certificate, and never start."""
PROXY = "nginx"
PROXY_UNIT = "nginx.service"
SMALLEST_SIZE = 32 * 1024**2
"""Bytes for each host: a file in use and a full one, of at least 8 MiB, and room to grow."""
METRICS = "/var/lib/groundwork/metrics"
"""Folder of text files with metrics that the host's exporter shows, where there is one."""


@dataclass(frozen=True)
class Upload(paths.WithCertificate):
    """What sends a host's journal."""

    platform: str
    url: str
    address: str | None
    """Of the log host; None where it is a name, which systemd cannot filter by."""
    identity: str = JOURNAL_UPLOAD

    @property
    def name(self) -> str:
        """Its name on the host."""
        return f"{self.platform}-journal-upload"

    @property
    def unit(self) -> str:
        """Its unit."""
        return f"{self.name}.service"

    @property
    def mark(self) -> str:
        """Name of the timer, and of what it starts, by which a host with nothing to say is heard of."""
        return f"{self.platform}-journal-mark"

    @property
    def restart_inputs(self) -> list[str]:
        """What it reads once, at its start."""
        return [paths.certificate_folder(self.platform, self.identity), self.authority]


@dataclass(frozen=True)
class Source:
    """One host whose journal is kept."""

    name: str
    """Word that stands for it."""
    account: str
    """Common name of its certificate."""
    unit: str
    """What writes its files."""
    socket: str
    """Where that listens."""


@dataclass(frozen=True)
class Store(paths.WithCertificate):
    """What keeps the journals of all hosts: one server with TLS in front, and behind it a writer for each host."""

    platform: str
    listen: str
    sources: tuple[Source, ...]
    peers: tuple[str, ...] | None
    """Addresses of all hosts; None where one of them is a name."""
    retention: float
    retention_size: int
    """Bytes of all hosts together; 0 for no bound of its own."""
    identity: str = JOURNAL_STORE

    @property
    def name(self) -> str:
        """Its name on the host."""
        return f"{self.platform}-journal-store"

    @property
    def unit(self) -> str:
        """The unit of what speaks TLS."""
        return f"{self.name}.service"

    @property
    def writers(self) -> str:
        """The template of the units that write."""
        return writer_unit(self.platform)

    @property
    def keeper(self) -> str:
        """Name of the timer, and of what it starts, by which what is too old or too much goes."""
        return f"{self.platform}-journal-keep"

    @property
    def folder(self) -> str:
        """Where the journals lie."""
        return store_folder(self.platform)

    @property
    def settings(self) -> str:
        """Configuration of what speaks TLS."""
        return f"{configuration(self.platform)}/nginx.conf"

    @property
    def limits(self) -> str:
        """Configuration of the writers, which stands in the place of the host's."""
        return f"{configuration(self.platform)}/journal-remote.conf"

    @property
    def revocations(self) -> str:
        """Path of the revocation lists."""
        return paths.revocation_list(self.platform)

    @property
    def helper(self) -> str:
        """The program that removes and begins files."""
        return f"/usr/local/lib/groundwork/{self.platform}/keep-journals"

    @property
    def metrics(self) -> str:
        """When each host was last heard of, for the host's exporter."""
        return f"{METRICS}/{self.platform}-journals.prom"

    @property
    def reload_inputs(self) -> list[str]:
        """What is read again while it runs."""
        return [*paths.reload_inputs(self.platform, self.identity), self.settings]


def configuration(platform: str) -> str:
    """Folder of the role's files."""
    return f"{paths.CONFIGURATION}/{platform}/logs"


def writer_unit(platform: str, source: str = "") -> str:
    """The unit that writes a host's files; without a host, the template of them all."""
    return f"{platform}-journal-store@{source}.service"


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError where more hosts than one are to keep journals, or in less than the files in use take."""
    declared = find_journal_store(platform.observability)
    if declared is None:
        return
    problems: list[Problem] = []
    hosts = topology.inventory.group(declared.hosts)
    if len(hosts) > 1:
        message, given = "journals are sent to one host", f"{len(hosts)} hosts"
        problems.append(Problem(message, key="observability.logs.hosts", given=given, allowed="1"))
    least = SMALLEST_SIZE * len(topology.hosts)
    if declared.retention_size is not None and declared.retention_size < least:
        key, given = "observability.logs.retention_size", format_size(declared.retention_size)
        message = f"is too little for the journals of {len(topology.hosts)} hosts"
        problems.append(Problem(message, key=key, given=given, allowed=f"at least {format_size(least)}"))
    if problems:
        raise ProblemError(problems)


def plan_upload(platform: Platform, topology: Topology) -> Upload | None:
    """What sends a host's journal; None where the platform keeps none. It is the same on every host."""
    declared = find_journal_store(platform.observability)
    if declared is None:
        return None
    address = topology.inventory.group(declared.hosts)[0].address
    url = f"https://{join(address, declared.port)}"
    return Upload(platform.platform, url, address if is_address(address) else None)


def plan_store(platform: Platform, topology: Topology, host: str) -> Store | None:
    """What keeps the journals of all hosts; None where it is not this host that does."""
    declared = find_journal_store(platform.observability)
    machine = topology.inventory.host(host)
    if declared is None or machine not in topology.inventory.group(declared.hosts):
        return None
    name, sources = platform.platform, []
    for each in topology.hosts:
        source = journal_source(each.name)
        socket = f"/run/{name}-journals/{source}/socket"
        sources.append(Source(source, journal_account(each.name), writer_unit(name, source), socket))
    peers = tuple(sorted(each.address for each in topology.hosts))
    return Store(
        platform=name,
        listen=join(machine.address, declared.port),
        sources=tuple(sources),
        peers=peers if all(map(is_address, peers)) else None,
        retention=declared.retention,
        retention_size=declared.retention_size or 0,
    )


def list_items(upload: Upload | None, store: Store | None) -> list[Item]:
    """What is removed when it is no longer declared: no journals, and no package."""
    items: list[Item] = []
    if upload:
        items += [Item("unit", f"{upload.mark}.timer"), Item("unit", f"{upload.mark}.service")]
        items.append(Item("unit", upload.unit))
    if store:
        items += [Item("unit", f"{store.keeper}.timer"), Item("unit", f"{store.keeper}.service")]
        items += [Item("unit", store.writers), *(Item("unit", source.unit) for source in store.sources)]
        items += [Item("unit", store.unit)]
        items += [Item("file", path) for path in (store.settings, store.limits, store.helper)]
        items.append(Item("directory", configuration(store.platform)))
    return items
