"""What the PostgreSQL of one host is to be, decided from the manifest and a few facts about the host."""

from __future__ import annotations

from collections.abc import Collection

from groundwork.addresses import is_address
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import PostgresqlService
from groundwork.operations.ledger_items import PREFIXES, Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.archives import archive_of
from groundwork.topology.model import Topology
from roles.postgresql.access import list_logins
from roles.postgresql.server import DROP_IN, POOL_FOLDER, POOL_UNIT, Server, helpers_folder, timer_unit
from roles.postgresql.sizing import Resources, compute_memory, compute_sizes
from roles.postgresql.versions import choose_version

LEDGER_PREFIXES = (*PREFIXES, "/etc/postgresql/", "/etc/pgbouncer/")


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
            if not is_address(address):
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
        archive=archive_of(platform, topology, node.service),
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
