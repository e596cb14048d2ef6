"""What a topology consists of. Everything is a value: comparable, hashable, without behaviour of its own."""

from __future__ import annotations

from dataclasses import dataclass

from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest.secrets import SecretDeclaration
from groundwork.topology.accounts import SystemUser


@dataclass(frozen=True, order=True)
class AgentInstance:
    """One replica of an agent on one host."""

    agent: str
    group: str
    host: str
    address: str
    replica: int
    module: str
    port: int | None
    ready_path: str
    health_path: str
    metrics_path: str | None


@dataclass(frozen=True, order=True)
class Process:
    """One process under systemd: one agent replica, or several where a group is packed."""

    unit: str
    """Name of the template without ``@``: ``chorus-agent-predictor``."""
    index: int
    group: str
    host: str
    agents: tuple[AgentInstance, ...]
    packed: bool = False
    in_container: bool = False
    """Whether the unit runs it as a container; it then answers at ports that are published on the host."""
    sharing: str = ""
    """How its share of a card is given: ``mig``, ``mps``, ``time_slicing``; empty without one."""

    @property
    def unit_name(self) -> str:
        """The unit's full name: ``chorus-agent-predictor@1.service``."""
        return f"{self.unit}@{self.index}.service"


@dataclass(frozen=True, order=True)
class ServiceNode:
    """One server of a service on one host."""

    service: str
    kind: str
    host: str
    address: str
    index: int
    """Number of the server on its host, from 1."""
    port: int
    role: str
    """``single``, ``master``, ``replica``, ``primary`` or ``member``."""


@dataclass(frozen=True, order=True)
class Site:
    """One exposed site on one host."""

    exposure: str
    host: str
    address: str
    port: int


@dataclass(frozen=True, order=True)
class Endpoint:
    """An address and port where something answers. ``host`` is empty for what lies outside."""

    name: str
    kind: str
    """``agent``, ``external``, ``exposure``, or the kind of a service; ``pgbouncer`` for its pool."""
    host: str
    address: str
    port: int
    protocol: str = "tcp"


@dataclass(frozen=True, order=True)
class Flow:
    """One permitted way through the network: from a unit on a host to a port of a host, and why.

    ``source_host`` is empty for clients from outside, ``source_network`` then tells which;
    ``destination_host`` is empty for what lies outside.
    """

    source_host: str
    source_unit: str
    destination_host: str
    destination: str
    port: int
    protocol: str
    reason: str
    source_network: str = ""
    required: bool = True
    """Whether the source counts on an answer (``required`` of its need)."""


@dataclass(frozen=True, order=True)
class Identity:
    """What the certificate of one unit on one host says."""

    unit: str
    host: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    uri: str
    account: str
    """Common name of the certificate, and the client's name at services."""
    owner: SystemUser
    """Who may read the key."""


@dataclass(frozen=True, order=True)
class ScrapeTarget:
    """One address that Prometheus collects metrics from."""

    job: str
    host: str
    address: str
    port: int
    path: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, order=True)
class SecretNeed:
    """One secret that one unit on one host must be given."""

    name: str
    host: str
    unit: str
    purpose: str


@dataclass(frozen=True)
class Topology:
    """Everything that follows from one platform on one inventory."""

    environment: str
    platform: str
    inventory: Inventory
    processes: tuple[Process, ...]
    nodes: tuple[ServiceNode, ...]
    sites: tuple[Site, ...]
    endpoints: tuple[Endpoint, ...]
    flows: tuple[Flow, ...]
    identities: tuple[Identity, ...]
    scrape_targets: tuple[ScrapeTarget, ...]
    secret_needs: tuple[SecretNeed, ...]
    secret_declarations: dict[str, SecretDeclaration]
    """Every secret of the platform: the declared ones and those that follow from needs."""
    start_order: tuple[tuple[str, ...], ...]
    """Layers of ``service:NAME``, ``group:NAME`` and ``agent:NAME``; a layer starts after those before it."""

    @property
    def hosts(self) -> tuple[InventoryHost, ...]:
        """All hosts of the inventory."""
        return self.inventory.hosts

    def processes_on(self, host: str) -> tuple[Process, ...]:
        """The processes of one host."""
        return tuple(process for process in self.processes if process.host == host)

    def nodes_on(self, host: str, kind: str | None = None) -> tuple[ServiceNode, ...]:
        """The servers of one host, of one kind where given."""
        return tuple(n for n in self.nodes if n.host == host and kind in (None, n.kind))

    def sites_on(self, host: str) -> tuple[Site, ...]:
        """The exposed sites of one host."""
        return tuple(site for site in self.sites if site.host == host)

    def endpoints_of(self, name: str) -> tuple[Endpoint, ...]:
        """Where a service or agent (not a group) answers."""
        return tuple(endpoint for endpoint in self.endpoints if endpoint.name == name)
