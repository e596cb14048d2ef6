"""Which processes, servers and sites run on which host."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.inventory import Inventory
from groundwork.manifest.agents import AgentGroup
from groundwork.manifest.platform import Platform
from groundwork.manifest.services import ExternalService, HostedService, RedisService
from groundwork.topology.model import AgentInstance, Process, ServiceNode, Site
from groundwork.topology.sharing import sharing_of


def place_processes(platform: Platform, inventory: Inventory) -> Iterator[Process]:
    """Yield the processes of every agent group on every host of its inventory group."""
    for name, group in platform.groups.items():
        for host in inventory.group(group.hosts):
            instances = [
                AgentInstance(
                    agent=agent_name,
                    group=name,
                    host=host.name,
                    address=host.address,
                    replica=replica,
                    module=agent.module or group.module or "",
                    port=agent.port + replica - 1 if agent.port is not None else None,
                    ready_path=agent.ready_path,
                    health_path=agent.health_path,
                    metrics_path=agent.metrics_path if agent.port is not None else None,
                )
                for agent_name, agent in group.agents.items()
                for replica in range(1, agent.replicas + 1)
            ]
            sharing = sharing_of(platform, name) or ""
            yield from _pack(platform.platform, name, group, host.name, instances, sharing)


def _pack(
    platform: str, name: str, group: AgentGroup, host: str, instances: list[AgentInstance], sharing: str
) -> Iterator[Process]:
    boxed = group.mode == "container"
    if group.processes is None:
        for item in instances:
            unit = f"{platform}-{item.agent}"
            yield Process(unit, item.replica, name, host, (item,), in_container=boxed, sharing=sharing)
        return
    # Neighbours stay together: agents that are declared side by side usually work together.
    share, extra = divmod(len(instances), group.processes)
    start = 0
    for index in range(1, group.processes + 1):
        end = start + share + (1 if index <= extra else 0)
        members = tuple(instances[start:end])
        unit = f"{platform}-{name}"
        yield Process(unit, index, name, host, members, packed=True, in_container=boxed, sharing=sharing)
        start = end


def place_nodes(platform: Platform, inventory: Inventory) -> Iterator[ServiceNode]:
    """Yield the servers of every service that runs on hosts of the inventory."""
    for name, service in platform.services.items():
        if isinstance(service, ExternalService):
            continue
        hosts = inventory.group(service.hosts)
        per_host = service.nodes_per_host if isinstance(service, RedisService) else 1
        # Host by host within each index, so that the masters of a cluster spread over the hosts.
        placed = [(host, index) for index in range(1, per_host + 1) for host in hosts]
        for position, (host, index) in enumerate(placed):
            yield ServiceNode(
                service=name,
                kind=service.kind,
                host=host.name,
                address=host.address,
                index=index,
                port=service.port + index - 1,
                role=_node_role(service, position, len(placed)),
            )


def _node_role(service: HostedService, position: int, total: int) -> str:
    if isinstance(service, RedisService):
        if service.mode == "standalone":
            return "single"
        masters = 1 if service.mode == "replicated" else total // (1 + service.replicas_per_master)
        return "master" if position < masters else "replica"
    if service.kind == "postgresql":
        return "primary" if position == 0 else "replica"
    return "single" if total == 1 else "member"


def place_sites(platform: Platform, inventory: Inventory) -> Iterator[Site]:
    """Yield every exposed site on every host of its inventory group."""
    for name, exposure in platform.exposure.items():
        for host in inventory.group(exposure.hosts):
            yield Site(name, host.name, host.address, exposure.port)
