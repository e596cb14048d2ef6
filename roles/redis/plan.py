"""What the servers of Redis on one host are to be, decided without looking at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from groundwork.addresses import is_address
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import RedisService
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import ServiceNode, Topology
from roles.redis import membership
from roles.redis.access import list_access
from roles.redis.server import HELPERS, Server, helpers_folder, memory_setting

MEBIBYTE = 1024**2
# Steps of the computed memory: a kernel update moves the host's total by a few MiB, and that must not restart Redis.
MEMORY_STEP = 64 * MEBIBYTE


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError with everything that this role cannot set up, for all hosts at once."""
    problems: list[Problem] = []
    nodes = [node for node in topology.nodes if node.kind == "redis"]
    for name in dict.fromkeys(node.service for node in nodes):
        declared = platform.services[name]
        assert isinstance(declared, RedisService)
        problems += membership.check_mode(declared, name)
        try:
            list_access(platform, name)
        except ProblemError as error:
            problems += error.problems
    for node in nodes:
        for host, address in {node.host: node.address, **_clients(topology, node)}.items():
            if not is_address(address):
                message = f"{node.service} needs the IP address of this host"
                problems.append(Problem(message, key=f"host {host}: address", given=address))
    if problems:
        raise ProblemError(dict.fromkeys(problems))


def plan_servers(platform: Platform, topology: Topology, host: str, host_memory: int) -> list[Server]:
    """Return the servers of one host; ``host_memory`` is what the host has, in bytes (0 where unknown)."""
    nodes = topology.nodes_on(host, "redis")
    shared = bool(topology.processes_on(host))
    computed = compute_memory(host_memory, len(nodes), shared) if nodes else 0
    servers = [_plan_server(platform, topology, node, computed) for node in nodes]
    total = sum(server.memory for server in servers)
    if host_memory and total > max(host_memory, MEMORY_STEP * len(servers)):
        names = ", ".join(dict.fromkeys(f"services.{server.service}.memory_max" for server in servers))
        message = f"{len(servers)} servers of Redis on host {host} may hold more than the host has"
        given, allowed = f"{total // MEBIBYTE} MiB", f"{host_memory // MEBIBYTE} MiB"
        raise ProblemError([Problem(message, key=names, given=given, allowed=allowed)])
    return servers


def _plan_server(platform: Platform, topology: Topology, node: ServiceNode, computed: int) -> Server:
    declared = platform.services[node.service]
    assert isinstance(declared, RedisService)
    return Server(
        platform=platform.platform,
        service=node.service,
        index=node.index,
        address=node.address,
        port=node.port,
        declared=declared,
        memory=declared.memory_max or computed,
        peers=tuple(sorted({*_clients(topology, node).values()} - {node.address})),
        access=list_access(platform, node.service),
    )


def compute_memory(host_memory: int, servers: int, shared: bool) -> int:
    """Memory for the data of one server, in bytes.

    Half of the host's memory for all servers, a quarter where agents run beside them: while Redis writes a
    snapshot, pages that change exist twice (redis.io, "Redis administration"), in the worst case all of them.
    Rounded down to steps of 64 MiB, at least one.
    """
    share = host_memory // (4 if shared else 2) // max(1, servers)
    return max(MEMORY_STEP, share // MEMORY_STEP * MEMORY_STEP)


def list_items(servers: list[Server]) -> list[Item]:
    """What is removed when it is no longer declared: no data, and no package."""
    if not servers:
        return []
    platform = servers[0].platform
    items = [
        *(Item("file", f"{helpers_folder(platform)}/{name}") for name in HELPERS),
        Item("directory", membership.library(platform)),
        Item("file", memory_setting(platform)),
        *(item for server in servers for item in _server_items(server)),
    ]
    return list(dict.fromkeys(items))


def _server_items(server: Server) -> Iterator[Item]:
    # Removing the unit of an instance removes its drop-ins, and leaves Debian's template alone.
    yield Item("unit", server.unit)
    for path in (server.operator_password, server.access_list, server.configuration):
        yield Item("file", path)
    if server.mode != "standalone":
        yield Item("file", server.login)
        yield Item("file", membership.settings_path(server.platform, server.service))
        yield Item("file", membership.password_path(server.platform, server.service))


def _clients(topology: Topology, node: ServiceNode) -> Mapping[str, str]:
    """Hosts with their addresses from which something may connect, as the topology's flows say."""
    names = {
        flow.source_host
        for flow in topology.flows
        if flow.source_host and (flow.destination_host, flow.port) == (node.host, node.port)
    }
    return {host.name: host.address for host in topology.hosts if host.name in names}
