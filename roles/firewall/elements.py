"""Which addresses and ports a host's flows open, as the elements of nftables' sets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from groundwork.addresses import is_address
from groundwork.manifest.firewall import Destination
from groundwork.topology.model import Flow

Network = IPv4Network | IPv6Network
FAMILIES = (4, 6)
PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True)
class Declaration:
    """How a set is declared: its type, and whether its elements may be networks."""

    type: str
    interval: bool = False


def declare_sets(outbound: bool) -> dict[str, Declaration]:
    """Return every set of the table by name; they are there even while empty, so that elements can be added.

    ``peers``: hosts of the inventory, each with a port. ``clients``: networks with a port. ``world``: ports that
    everybody may reach. ``out_``: the same for what the host itself reaches, with ``outbound``.
    """
    sets: dict[str, Declaration] = {}
    for family in FAMILIES:
        address = f"ipv{family}_addr"
        sets[f"controllers{family}"] = Declaration(address, interval=True)
        if outbound:
            sets[f"resolvers{family}"] = Declaration(address)
        for protocol in PROTOCOLS:
            for way in ("", "out_") if outbound else ("",):
                tail = f"{protocol}{family}"
                sets[f"{way}peers_{tail}"] = Declaration(f"{address} . inet_service")
                sets[f"{way}clients_{tail}"] = Declaration(f"{address} . inet_service", interval=True)
                sets[f"{way}world_{tail}"] = Declaration("inet_service")
    return sets


@dataclass
class Elements:
    """Collects what belongs into the sets, and gives it out sorted, each once."""

    _peers: dict[str, set[tuple[int, int, str]]] = field(default_factory=dict)
    _networks: dict[tuple[str, int, str, int], set[Network]] = field(default_factory=dict)
    _single: dict[str, set[Network]] = field(default_factory=dict)
    _ports: dict[str, set[int]] = field(default_factory=dict)

    def add_peer(self, way: str, address: str, protocol: str, port: int) -> None:
        """Open one port to one address. Raises ValueError for what is none."""
        parsed = ip_address(address)
        name = f"{way}peers_{protocol}{parsed.version}"
        self._peers.setdefault(name, set()).add((int(parsed), port, str(parsed)))

    def add_network(self, way: str, network: str, protocol: str, port: int) -> None:
        """Open one port to a network; one of length 0 is everybody."""
        parsed = ip_network(network)
        if parsed.prefixlen == 0:
            self.add_world(way, protocol, port, [parsed.version])
        else:
            self._networks.setdefault((way, port, protocol, parsed.version), set()).add(parsed)

    def add_world(self, way: str, protocol: str, port: int, families: Iterable[int] = FAMILIES) -> None:
        """Open one port to everybody."""
        for family in families:
            self._ports.setdefault(f"{way}world_{protocol}{family}", set()).add(port)

    def add_single(self, name: str, networks: Iterable[str]) -> None:
        """Put networks or addresses without a port into the sets ``<name>4`` and ``<name>6``."""
        for network in networks:
            parsed = ip_network(network)
            self._single.setdefault(f"{name}{parsed.version}", set()).add(parsed)

    def collect(self, sets: Mapping[str, Declaration]) -> dict[str, tuple[str, ...]]:
        """Return each declared set's elements as nftables prints them, in ascending order."""
        result: dict[str, tuple[str, ...]] = dict.fromkeys(sets, ())
        for name, peers in self._peers.items():
            result[name] = tuple(f"{address} . {port}" for _, port, address in sorted(peers))
        for name, ports in self._ports.items():
            result[name] = tuple(str(port) for port in sorted(ports))
        for name, networks in self._single.items():
            result[name] = tuple(_show(network) for network in _collapse(networks))
        clients: dict[str, list[tuple[int, int, str]]] = {}
        for (way, port, protocol, family), networks in self._networks.items():
            found = clients.setdefault(f"{way}clients_{protocol}{family}", [])
            found += [(int(n.network_address), port, f"{_show(n)} . {port}") for n in _collapse(networks)]
        for name, items in clients.items():
            result[name] = tuple(text for _, _, text in sorted(items))
        return result


def add_inbound(
    elements: Elements,
    flows: Iterable[Flow],
    host: str,
    addresses: Mapping[str, str],
    containers: Collection[str] = (),
    pool: str = "",
) -> None:
    """Add what may come in to ``host``; what it sends itself goes over the loopback and needs no opening.

    What the host's ``containers`` (units) send to the host comes in from ``pool``, the network of their addresses.
    """
    for flow in flows:
        if flow.destination_host != host:
            continue
        if flow.source_network:
            elements.add_network("", flow.source_network, flow.protocol, flow.port)
        elif flow.source_host != host:
            elements.add_peer("", addresses[flow.source_host], flow.protocol, flow.port)
        elif flow.source_unit in containers:
            elements.add_network("", pool, flow.protocol, flow.port)


def add_outbound(
    elements: Elements,
    flows: Iterable[Flow],
    host: str,
    destinations: Iterable[Destination],
    resolvers: Iterable[str],
) -> None:
    """Add what ``host`` may reach. What lies outside and is known by its name only is reached anywhere."""
    for flow in flows:
        if flow.source_host != host or flow.destination_host == host:
            continue
        if is_address(flow.destination):
            elements.add_peer("out_", flow.destination, flow.protocol, flow.port)
        else:
            elements.add_world("out_", flow.protocol, flow.port)
    for destination in destinations:
        for network in destination.networks:
            for port in destination.ports:
                elements.add_network("out_", network, destination.protocol, port)
    elements.add_single("resolvers", resolvers)


def _collapse(networks: Iterable[Network]) -> list[Network]:
    """The networks without those that lie in others: nftables refuses elements that overlap."""
    four = [network for network in networks if isinstance(network, IPv4Network)]
    six = [network for network in networks if isinstance(network, IPv6Network)]
    return [*collapse_addresses(four), *collapse_addresses(six)]


def _show(network: Network) -> str:
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)
