"""One identity for each unit of each host: what its certificate will say, and who owns its key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from groundwork.inventory import Inventory
from groundwork.manifest.observability import Logs, Observability
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ConsulService, PostgresqlService
from groundwork.topology import archives, backups
from groundwork.topology.accounts import ROOT, SystemUser, service_user
from groundwork.topology.model import Identity, Process, ServiceNode, Site
from groundwork.topology.sharing import process_user

PROXY = "nginx"
"""Unit of the identity by which a host's reverse proxy calls agents; its account is ``proxy``."""
OPERATOR = "operator"
"""Unit and account of the identity that root's own tools use on every host."""
EXPORTER, PROMETHEUS, ALERTMANAGER = "exporter", "prometheus", "alertmanager"
"""Units of what watches: the exporters of a host share one identity, as they share an account."""
JOURNAL_UPLOAD, JOURNAL_STORE = "journal-upload", "journal-store"
"""Units of what sends a host's journal, and of what keeps those of all hosts."""
_JOURNAL = "journal."
# RFC 5280, appendix A: ub-common-name.
_LONGEST_ACCOUNT = 64
TRACES = "traces"
"""Unit of the identity of what collects traces."""
_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


def list_identities(
    platform: Platform,
    environment: str,
    inventory: Inventory,
    processes: Iterable[Process],
    nodes: Iterable[ServiceNode],
    sites: Iterable[Site],
) -> Iterator[Identity]:
    """Yield one identity per unit and host: host names, addresses, a SPIFFE URI of the unit, and its account.

    Agent processes have the account of their group, servers that of their service, PgBouncer ``pgbouncer``, the
    reverse proxy ``proxy``; ``prometheus``, ``alertmanager``, ``exporter`` and ``traces`` watch; what sends a journal
    has an account of its host (``journal_account``). Besides the units, every host has an ``operator``.
    """

    def identity(
        unit: str, host: str, address: str, account: str, owner: SystemUser = ROOT, names: tuple[str, ...] = ()
    ) -> Identity:
        dns_names, addresses = _sort_names((host.removeprefix("@ssh/"), *names, address))
        uri = f"spiffe://{environment}/{platform.platform}/{unit}"
        return Identity(unit, host, dns_names, addresses, uri, account, owner)

    for process in processes:
        unit = process.unit_name.removesuffix(".service")
        owner = process_user(platform, process.group)
        agents = (agent_name(platform.platform, agent.agent) for agent in process.agents)
        names = (*dict.fromkeys(agents), group_name(platform.platform, process.group))
        yield identity(unit, process.host, process.agents[0].address, process.group, owner, names)
    nodes = tuple(nodes)
    for node in nodes:
        service = platform.services[node.service]
        owner = service_user(node.kind)
        extra = (consul_server_name(platform.platform),) if isinstance(service, ConsulService) else ()
        yield identity(f"{node.service}-{node.index}", node.host, node.address, node.service, owner, extra)
        if isinstance(service, PostgresqlService) and service.pgbouncer:
            unit = pool_unit(node.service, node.index)
            yield identity(unit, node.host, node.address, "pgbouncer", service_user("pgbouncer"))
    proxies: dict[str, str] = {}
    for site in sites:
        names = tuple(platform.exposure[site.exposure].server_names)
        yield identity(site_unit(site.exposure), site.host, site.address, "proxy", names=names)
        proxies[site.host] = site.address
    for host, address in proxies.items():
        yield identity(PROXY, host, address, "proxy")
    observability, watcher = platform.observability, service_user("prometheus")
    for machine in inventory.hosts if observability.prometheus else ():
        yield identity(EXPORTER, machine.name, machine.address, EXPORTER, watcher)
    for unit, part in ((PROMETHEUS, observability.prometheus), (ALERTMANAGER, observability.alertmanager)):
        for machine in inventory.group(part.hosts) if part else ():
            yield identity(unit, machine.name, machine.address, unit, watcher)
    store = find_journal_store(observability)
    if store:
        for machine in inventory.hosts:
            yield identity(JOURNAL_UPLOAD, machine.name, machine.address, journal_account(machine.name))
        for machine in inventory.group(store.hosts):
            yield identity(JOURNAL_STORE, machine.name, machine.address, JOURNAL_STORE, service_user("journal"))
    for machine in inventory.group(observability.traces.hosts) if observability.traces else ():
        yield identity(TRACES, machine.name, machine.address, TRACES, service_user("phoenix"))
    keepers = {one.host: one.address for one in backups.list_repositories(platform, inventory) if one.host}
    for host in dict.fromkeys(job.host for job in backups.place_jobs(platform, inventory, nodes)):
        yield identity(backups.CLIENT, host, inventory.host(host).address, backups.CLIENT)
    for host, address in keepers.items():
        yield identity(backups.SERVER, host, address, backups.SERVER, service_user(backups.SERVER))
    kept = [one for one in archives.place_archives(platform, inventory, nodes) if one.is_remote]
    for one in kept:
        owner = service_user("postgresql")
        yield identity(one.identity, one.database.host, one.database_address, one.account, owner)
    for host, address in dict.fromkeys((one.keeper, one.keeper_address) for one in kept):
        yield identity(archives.KEEPER, host, address, archives.KEEPER, service_user(archives.KEEPER))
    for machine in inventory.hosts:
        yield identity(OPERATOR, machine.name, machine.address, "operator")


def site_unit(exposure: str) -> str:
    """Identity of one exposed site, as its clients see it."""
    return f"site-{exposure}"


def find_journal_store(observability: Observability) -> Logs | None:
    """Where the journals of all hosts are kept; None where they stay on their hosts."""
    logs = observability.logs
    return logs if logs and logs.backend == "journal" else None


def journal_source(host: str) -> str:
    """Word that stands for a host in the store of journals: it can be in a certificate, a unit and a file's name.

    Names that are too long or have other letters are cut and cleaned, with a digest that keeps two of them apart.
    """
    name = host.removeprefix("@ssh/").lstrip("@")
    longest = _LONGEST_ACCOUNT - len(_JOURNAL)
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    if cleaned == name and len(name) <= longest:
        return name
    return f"{cleaned[: longest - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def journal_account(host: str) -> str:
    """Account by which a host sends its journal. No other account has a dot, so nothing else can send for it."""
    return f"{_JOURNAL}{journal_source(host)}"


def agent_name(platform: str, agent: str) -> str:
    """Host name in the certificate of every replica of an agent, by which a proxy asks for any of them."""
    return f"{platform}-agent-{agent}"


def group_name(platform: str, group: str) -> str:
    """Host name in the certificate of every process of a group."""
    return f"{platform}-group-{group}"


def consul_server_name(datacenter: str) -> str:
    """Host name by which servers of Consul know each other, which no other certificate has (Consul, TLS)."""
    return f"server.{datacenter}.consul"


def pool_unit(service: str, index: int) -> str:
    """Name of the identity of the PgBouncer in front of one server of a PostgreSQL service."""
    return f"{service}-pgbouncer-{index}"


def _sort_names(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Host names and addresses, each once; what is neither (``@local``) can be in no certificate."""
    hosts: dict[str, None] = {}
    addresses: dict[str, None] = {}
    for name in names:
        try:
            addresses[str(ip_address(name))] = None
        except ValueError:
            if _HOST_NAME.fullmatch(name):
                hosts[name.lower()] = None
    return tuple(hosts), tuple(addresses)
