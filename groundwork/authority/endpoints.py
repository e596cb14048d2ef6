"""Which certificate is to be served where, by the topology."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from groundwork.manifest.platform import Platform
from groundwork.manifest.services import PostgresqlService
from groundwork.topology import archives
from groundwork.topology.backups import SERVER, list_repositories
from groundwork.topology.identities import JOURNAL_STORE, TRACES, find_journal_store, pool_unit, site_unit
from groundwork.topology.model import Topology

Protocol = Literal["tls", "postgresql", "nats"]
# What is said in plain text before TLS begins; the others begin with it.
_PROTOCOLS: dict[str, Protocol] = {"postgresql": "postgresql", "nats": "nats"}
_KINDS = ("redis", "postgresql", "nats", "consul")


@dataclass(frozen=True, order=True)
class TlsEndpoint:
    """An address where a unit has to serve its certificate."""

    host: str
    unit: str
    address: str
    port: int
    protocol: Protocol
    wants_client: bool
    """Whether clients without a certificate of ours must be refused; the public side of a proxy takes everybody."""


def list_tls_endpoints(platform: Platform, topology: Topology) -> Iterator[TlsEndpoint]:
    """Yield every address that answers with a certificate of the authority.

    Sites whose certificate has another source are left out.
    """
    for process in topology.processes:
        unit = process.unit_name.removesuffix(".service")
        for agent in process.agents:
            if agent.port is not None:
                yield TlsEndpoint(process.host, unit, agent.address, agent.port, "tls", True)
    for node in topology.nodes:
        if node.kind not in _KINDS:
            continue
        protocol = _PROTOCOLS.get(node.kind, "tls")
        yield TlsEndpoint(node.host, f"{node.service}-{node.index}", node.address, node.port, protocol, True)
        service = platform.services[node.service]
        if isinstance(service, PostgresqlService) and service.pgbouncer:
            unit, port = pool_unit(node.service, node.index), service.pgbouncer.port
            yield TlsEndpoint(node.host, unit, node.address, port, "postgresql", True)
    store = find_journal_store(platform.observability)
    for machine in topology.inventory.group(store.hosts) if store else ():
        # It refuses whom it does not know with the answer to the request, after the handshake.
        yield TlsEndpoint(machine.name, JOURNAL_STORE, machine.address, store.port if store else 0, "tls", False)
    traces = platform.observability.traces
    for machine in topology.inventory.group(traces.hosts) if traces else ():
        port = traces.port if traces else 0
        yield TlsEndpoint(machine.name, TRACES, machine.address, port, "tls", True)
    for repository in list_repositories(platform, topology.inventory):
        if repository.host:
            yield TlsEndpoint(repository.host, SERVER, repository.address, repository.port, "tls", True)
    for one in archives.list_archives(platform, topology):
        if one.is_remote:
            # It shakes hands with everybody (server-ping) and lets nobody do anything without a certificate.
            database, port = one.database.host, archives.PORT
            yield TlsEndpoint(database, one.identity, one.database_address, port, "tls", False)
            yield TlsEndpoint(one.keeper, archives.KEEPER, one.keeper_address, port, "tls", False)
    for site in topology.sites:
        if platform.exposure[site.exposure].tls.source == "authority":
            yield TlsEndpoint(site.host, site_unit(site.exposure), site.address, site.port, "tls", False)
