"""What the servers of Consul on one host are to be, decided without looking at it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from groundwork.addresses import is_address
from groundwork.authority import paths
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ConsulService
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import ServiceNode, Topology
from groundwork.topology.secrets import CONSUL_AGENT, CONSUL_GOSSIP, CONSUL_MANAGEMENT
from roles.consul.access import GroupAccess, list_access

PROGRAM = "/usr/bin/consul"
PACKAGE = "consul"
PACKAGE_UNIT = "consul.service"
RESERVED = (CONSUL_MANAGEMENT, CONSUL_AGENT, CONSUL_GOSSIP)
# A name that is not valid here would only be found by the server, after the former one has stopped.
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_NAMESPACE = uuid.UUID("9c1d7f5e-6a0b-4f6a-8d0e-5b0f3a4f2c11")


@dataclass(frozen=True)
class Server(paths.WithCertificate):
    """One server of Consul: everything its files say, secrets aside."""

    platform: str
    service: str
    index: int
    host: str
    address: str
    declared: ConsulService
    members: tuple[tuple[str, str], ...]
    """Host names and addresses of all servers, this one's included; the first makes policies and tokens."""
    access: tuple[GroupAccess, ...]
    peers: tuple[str, ...]
    """Addresses that may connect, this host's own aside."""

    @property
    def identity(self) -> str:
        """The unit in its certificate."""
        return f"{self.service}-{self.index}"

    @property
    def instance(self) -> str:
        """Its name on the host: ``ymera-consul-1``."""
        return f"{self.platform}-{self.identity}"

    @property
    def unit(self) -> str:
        """Its unit."""
        return f"{self.instance}.service"

    @property
    def datacenter(self) -> str:
        """Consul's name for all servers together: the platform's."""
        return self.platform

    @property
    def first(self) -> bool:
        """Whether policies and tokens are made from here."""
        return self.host == self.members[0][0]

    @property
    def folder(self) -> str:
        """Where its configuration lies, and nothing else: Consul reads every file in it."""
        return f"{paths.CONFIGURATION}/{self.platform}/{self.service}/server-{self.index}"

    @property
    def configuration(self) -> str:
        """What has no secret in it."""
        return f"{self.folder}/server.json"

    @property
    def secrets(self) -> str:
        """Gossip key and the server's own tokens."""
        return f"{self.folder}/server-secrets.json"

    @property
    def access_file(self) -> str:
        """Policies and tokens as they are to be, for root alone."""
        return f"{paths.CONFIGURATION}/{self.platform}/{self.service}/access-{self.index}.json"

    @property
    def helper(self) -> str:
        """The program for root and for the unit."""
        return helper_path(self.platform)

    @property
    def data_folder(self) -> str:
        """Where its state lies."""
        return f"/var/lib/consul/{self.instance}"

    @property
    def restart_inputs(self) -> list[str]:
        """Paths whose change it takes up with a restart; the program itself for a new release."""
        return [self.configuration, self.secrets, f"/etc/systemd/system/{self.unit}", PROGRAM]

    @property
    def reload_inputs(self) -> list[str]:
        """Paths that it reads again while it runs. Consul reads no revocation list."""
        return [paths.certificate_folder(self.platform, self.identity), self.authority]


def helper_path(platform: str) -> str:
    """Where the helper lies."""
    return f"/usr/local/lib/groundwork/{platform}/consul-admin"


def check_platform(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError with everything that this role cannot set up, for all hosts at once."""
    problems: list[Problem] = []
    nodes = [node for node in topology.nodes if node.kind == "consul"]
    for name in dict.fromkeys(node.service for node in nodes):
        try:
            access = list_access(platform, name)
        except ProblemError as error:
            problems += error.problems
            continue
        for one in access:
            if one.group in RESERVED:
                message, allowed = f"needs {name}, where this name means something else", "another name"
                problems.append(Problem(message, key=f"groups.{one.group}", given=one.group, allowed=allowed))
    if len({node.service for node in nodes}) > 1:
        given = ", ".join(dict.fromkeys(node.service for node in nodes))
        problems.append(Problem("a platform has one Consul", key="services", given=given, allowed="one"))
    for node in nodes:
        if not is_address(node.address):
            message = "Consul needs the IP address of this host"
            problems.append(Problem(message, key=f"host {node.host}: address", given=node.address))
        if not _NODE_NAME.fullmatch(_node_name(node.host)):
            message, allowed = "is no name for a server of Consul", "letters, digits, dots and dashes"
            problems.append(Problem(message, key=f"host {node.host}", given=node.host, allowed=allowed))
    if problems:
        raise ProblemError(problems)


def plan_servers(platform: Platform, topology: Topology, host: str) -> list[Server]:
    """Return the servers of one host."""
    return [_plan_server(platform, topology, node) for node in topology.nodes_on(host, "consul")]


def _plan_server(platform: Platform, topology: Topology, node: ServiceNode) -> Server:
    declared = platform.services[node.service]
    assert isinstance(declared, ConsulService)
    ports = {declared.port, declared.rpc_port, declared.gossip_port}
    sources = {f.source_host for f in topology.flows if f.destination_host == node.host and f.port in ports}
    return Server(
        platform=platform.platform,
        service=node.service,
        index=node.index,
        host=node.host,
        address=node.address,
        declared=declared,
        members=tuple((other.host, other.address) for other in topology.nodes if other.service == node.service),
        access=tuple(list_access(platform, node.service)),
        peers=tuple(sorted({h.address for h in topology.hosts if h.name in sources} - {node.address})),
    )


def describe_server(one: Server, modern: bool) -> dict[str, object]:
    """The server's configuration without its secrets (Consul, agent configuration reference).

    ``modern`` has the names that Consul introduced for TLS in 1.12; older releases know only the former ones.
    """
    ports = {"http": -1, "https": one.declared.port, "dns": -1, "grpc": -1, "serf_wan": -1}
    ports |= {"server": one.declared.rpc_port, "serf_lan": one.declared.gossip_port}
    files = {"ca_file": one.authority, "cert_file": one.certificate, "key_file": one.key}
    verify = {"verify_incoming": True, "verify_outgoing": True}
    tls: dict[str, object]
    if modern:
        # Servers of 1.14 and later open a port for gRPC over TLS by themselves.
        ports["grpc_tls"] = -1
        defaults = {**files, **verify, "tls_min_version": "TLSv1_2"}
        tls = {"tls": {"defaults": defaults, "internal_rpc": {"verify_server_hostname": True}}}
    else:
        tls = {**files, **verify, "verify_server_hostname": True, "tls_min_version": "tls12"}
    return {
        "server": True,
        "bootstrap_expect": len(one.members),
        "datacenter": one.datacenter,
        "primary_datacenter": one.datacenter,
        "node_name": _node_name(one.host),
        "data_dir": one.data_folder,
        "bind_addr": one.address,
        "client_addr": one.address,
        "ports": ports,
        "retry_join": [address for _, address in one.members if address != one.address],
        "retry_interval": "3s",
        **tls,
        "acl": {"enabled": True, "default_policy": "deny", "down_policy": "extend-cache"},
        # The key of the gossip is the declared one at each start, not one that an earlier start wrote down.
        "disable_keyring_file": True,
        "disable_update_check": True,
        "disable_remote_exec": True,
        "enable_script_checks": False,
        "connect": {"enabled": False},
        "leave_on_terminate": False,
        "skip_leave_on_interrupt": True,
        "performance": {"raft_multiplier": 1},
        "log_level": "INFO",
    }


def describe_secrets(gossip_key: str, management: str, agent: str, modern: bool) -> dict[str, object]:
    """The part with secrets; ``gossip_key`` is in base64. Consul 1.11 renamed the token that it makes by itself."""
    first = "initial_management" if modern else "master"
    return {"encrypt": gossip_key, "acl": {"tokens": {first: management, "agent": agent}}}


def describe_access(one: Server, tokens: dict[str, str]) -> dict[str, object]:
    """What the helper is told: where the server is, and the policies and tokens that are to be there.

    ``tokens`` has the secret of each client. A token's accessor, its public name, follows from client and platform.
    """
    policies = {f"groundwork-{access.group}": access.rules for access in one.access}
    nodes = "\n".join(f'node "{_node_name(host)}" {{ policy = "write" }}' for host, _ in one.members)
    policies[f"groundwork-{CONSUL_AGENT}"] = f'{nodes}\nservice_prefix "" {{ policy = "read" }}\n'
    clients = [access.group for access in one.access] + [CONSUL_AGENT]
    return {
        "address": one.address,
        "port": one.declared.port,
        "certificate": one.certificate,
        "key": one.key,
        "authority": one.authority,
        "management": tokens[CONSUL_MANAGEMENT],
        "policies": policies,
        "tokens": {
            accessor(one.platform, one.service, client): {
                "description": f"groundwork: {client}",
                "policy": f"groundwork-{client}",
                "secret": tokens[client],
            }
            for client in clients
        },
    }


def accessor(platform: str, service: str, client: str) -> str:
    """The accessor of a client's token (a UUID of version 5, RFC 9562)."""
    return str(uuid.uuid5(_NAMESPACE, f"{platform}/{service}/{client}"))


def list_items(servers: list[Server]) -> list[Item]:
    """What is removed when it is no longer declared: no data, and no package."""
    if not servers:
        return []
    items = [Item("file", helper_path(servers[0].platform))]
    for one in servers:
        items += [Item("directory", one.folder), Item("unit", one.unit)]
        items += [Item("file", path) for path in (one.secrets, one.configuration, one.access_file)]
    return items


def _node_name(host: str) -> str:
    return host.removeprefix("@ssh/")
