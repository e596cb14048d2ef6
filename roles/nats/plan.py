"""What the servers of NATS on one host are to be, decided without looking at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from groundwork.addresses import is_address
from groundwork.authority import paths
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import NatsService
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.flows import needs_of
from groundwork.topology.model import ServiceNode, Topology
from groundwork.topology.subjects import SubjectRights, list_subject_rights
from roles.nats.streams import check_streams, list_consumers, list_streams

# docs.nats.io, "Configuration": a maximum payload above this is not advised and above max_pending refused.
LARGEST_PAYLOAD = 64 * 1024**2
# Connections at most; each takes a file descriptor, and JetStream takes some for its files besides.
MAXIMUM_CONNECTIONS = 16_384
OPEN_FILES = 65_536
PROGRAM = "/usr/sbin/nats-server"


@dataclass(frozen=True)
class User:
    """One client that is let in: the URI name of its certificate, and what it may do."""

    uri: str
    rights: SubjectRights


@dataclass(frozen=True)
class Server(paths.WithCertificate):
    """One server of NATS: everything its files say."""

    platform: str
    service: str
    index: int
    host: str
    address: str
    port: int
    declared: NatsService
    uri: str
    """URI name of the servers' own certificates, by which they and root on their hosts are known."""
    users: tuple[User, ...]
    members: tuple[str, ...]
    """Addresses of all servers of the cluster, this one's included; empty where it stands alone."""
    peers: tuple[str, ...]
    """Addresses that may connect, this host's own aside."""
    first: bool
    """Whether this is the server at which the streams are made."""

    @property
    def instance(self) -> str:
        """Its name on the host: ``ymera-nats-1``."""
        return f"{self.platform}-{self.identity}"

    @property
    def identity(self) -> str:
        """The unit in its certificate."""
        return f"{self.service}-{self.index}"

    @property
    def unit(self) -> str:
        """Its unit."""
        return f"{self.instance}.service"

    @property
    def folder(self) -> str:
        """Where its configuration lies."""
        return f"{paths.CONFIGURATION}/{self.platform}/{self.service}"

    @property
    def configuration(self) -> str:
        """What it can only take up with a restart."""
        return f"{self.folder}/server-{self.index}.conf"

    @property
    def clients(self) -> str:
        """What it can read again while it runs: users, certificates, limits of clients."""
        return f"{self.folder}/clients-{self.index}.conf"

    @property
    def streams(self) -> str:
        """Streams and consumers as JetStream's interface names them, for the helper."""
        return f"{self.folder}/streams-{self.index}.json"

    @property
    def helper(self) -> str:
        """The program for root and for the unit."""
        return helper_path(self.platform)

    @property
    def data_folder(self) -> str:
        """Where JetStream keeps its data."""
        return f"/var/lib/nats/{self.instance}"

    @property
    def restart_inputs(self) -> list[str]:
        """Paths whose change it takes up with a restart; the program itself for security updates."""
        return [self.configuration, f"/etc/systemd/system/{self.unit}", PROGRAM]

    @property
    def reload_inputs(self) -> list[str]:
        """Paths that it reads again while it runs. NATS reads no revocation list."""
        return [self.clients, paths.certificate_folder(self.platform, self.identity), self.authority]


def helper_path(platform: str) -> str:
    """Where the helper lies."""
    return f"/usr/local/lib/groundwork/{platform}/nats-admin"


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError with everything that this role cannot set up, for all hosts at once."""
    problems: list[Problem] = []
    nodes = [node for node in topology.nodes if node.kind == "nats"]
    for name in dict.fromkeys(node.service for node in nodes):
        declared = _declared(platform, name)
        key = f"services.{name}"
        problems += check_streams(declared, key, sum(node.service == name for node in nodes))
        if declared.maximum_payload > LARGEST_PAYLOAD:
            given = str(declared.maximum_payload)
            problem = Problem("is more than NATS takes", key=f"{key}.maximum_payload", given=given, allowed="64MiB")
            problems.append(problem)
        try:
            list_subject_rights(platform, name)
        except ProblemError as error:
            problems += error.problems
    for node in nodes:
        for host, address in {node.host: node.address, **_clients(platform, topology, node)}.items():
            if not is_address(address):
                message = f"{node.service} needs the IP address of this host"
                problems.append(Problem(message, key=f"host {host}: address", given=address))
    if problems:
        raise ProblemError(dict.fromkeys(problems))


def plan_servers(platform: Platform, topology: Topology, host: str) -> list[Server]:
    """Return the servers of one host."""
    return [_plan_server(platform, topology, node) for node in topology.nodes_on(host, "nats")]


def _plan_server(platform: Platform, topology: Topology, node: ServiceNode) -> Server:
    declared = _declared(platform, node.service)
    nodes = [other for other in topology.nodes if other.service == node.service]
    members = tuple(other.address for other in nodes) if declared.mode == "cluster" else ()
    identity = f"{node.service}-{node.index}"
    uri = next(one.uri for one in topology.identities if (one.host, one.unit) == (node.host, identity))
    return Server(
        platform=platform.platform,
        service=node.service,
        index=node.index,
        host=node.host,
        address=node.address,
        port=node.port,
        declared=declared,
        uri=uri,
        users=tuple(list_users(platform, topology, node.service)),
        members=members,
        peers=tuple(sorted({*_clients(platform, topology, node).values()} - {node.address})),
        first=node == nodes[0],
    )


def list_users(platform: Platform, topology: Topology, service: str) -> Iterator[User]:
    """Yield every client once: the processes that need the service, each with its group's rights."""
    rights = {one.group: one for one in list_subject_rights(platform, service)}
    uris = {(one.host, one.unit): one.uri for one in topology.identities}
    seen: set[str] = set()
    for process in topology.processes:
        if service not in needs_of(platform, process):
            continue
        uri = uris[process.host, process.unit_name.removesuffix(".service")]
        if uri not in seen:
            seen.add(uri)
            yield User(uri, rights[process.group])


def describe_streams(server: Server) -> dict[str, object]:
    """What the helper is told: where the server is, and the streams and consumers that are to be there."""
    return {
        "address": server.address,
        "port": server.port,
        "certificate": server.certificate,
        "key": server.key,
        "authority": server.authority,
        "streams": list_streams(server.declared, len(server.members) or 1),
        "consumers": list_consumers(server.declared),
    }


def list_items(servers: list[Server]) -> list[Item]:
    """What is removed when it is no longer declared: no data, and no package."""
    if not servers:
        return []
    items = [Item("file", helper_path(servers[0].platform))]
    for one in servers:
        items += [Item("directory", one.folder), Item("unit", one.unit)]
        items += [Item("file", path) for path in (one.clients, one.configuration, one.streams)]
    return list(dict.fromkeys(items))


def _declared(platform: Platform, service: str) -> NatsService:
    declared = platform.services[service]
    assert isinstance(declared, NatsService)
    return declared


def _clients(platform: Platform, topology: Topology, node: ServiceNode) -> dict[str, str]:
    """Hosts with their addresses from which something may connect, as the topology's flows say."""
    ports = {node.port, _declared(platform, node.service).cluster_port}
    names = {
        flow.source_host
        for flow in topology.flows
        if flow.source_host and flow.destination_host == node.host and flow.port in ports
    }
    return {host.name: host.address for host in topology.hosts if host.name in names}
