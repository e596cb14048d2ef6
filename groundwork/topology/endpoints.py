"""Where each agent, service and site answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ExternalService, PostgresqlService
from groundwork.topology.model import Endpoint, Process, ServiceNode, Site


def list_endpoints(
    platform: Platform, processes: Iterable[Process], nodes: Iterable[ServiceNode], sites: Iterable[Site]
) -> Iterator[Endpoint]:
    """Yield every endpoint.

    A PostgreSQL service with PgBouncer is reached through its pool only: its endpoint is the pool's port.
    """
    for process in processes:
        for agent in process.agents:
            if agent.port is not None:
                yield Endpoint(agent.agent, "agent", agent.host, agent.address, agent.port)
    for node in nodes:
        service = platform.services[node.service]
        port, kind = node.port, node.kind
        if isinstance(service, PostgresqlService):
            if node.role == "replica":
                continue
            if service.pgbouncer:
                port, kind = service.pgbouncer.port, "pgbouncer"
        yield Endpoint(node.service, kind, node.host, node.address, port)
    for name, service in platform.services.items():
        if isinstance(service, ExternalService):
            yield Endpoint(name, "external", "", service.address, service.port, service.protocol)
    for site in sites:
        yield Endpoint(site.exposure, "exposure", site.host, site.address, site.port)
