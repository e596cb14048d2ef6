"""What surrounds one agent in its process: its server, its queue, and its announcements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent_runtime.agent import Agent
from agent_runtime.server import AgentServer
from agent_runtime.services import Services
from agent_runtime.settings import RuntimeSettings
from agent_runtime.work.consumer import Consumer

if TYPE_CHECKING:
    from agent_runtime.bus.consumer import BusConsumer


class StartError(Exception):
    """The process cannot do what its instance file says."""


class HostedAgent:
    """An agent with its server and, if it takes requests, its consumer."""

    def __init__(self, agent: Agent, server: AgentServer, consumer: Consumer | BusConsumer | None) -> None:
        self.agent, self.server, self.consumer = agent, server, consumer
        self.serving: asyncio.Task[None] | None = None


def create_consumer(agent: Agent, services: Services, settings: RuntimeSettings) -> Consumer | BusConsumer:
    """Return what takes the agent's requests: from NATS where there is one, else from Redis.

    Raises:
        StartError: the instance has neither.
    """
    context, entry = agent.context, agent.context.entry
    if services.bus is not None:
        from agent_runtime.bus.consumer import BusConsumer

        limit = agent.work_concurrency or settings.work_concurrency
        return BusConsumer(
            entry.name, agent.handle, agent.give_up, agent.is_open, services.bus, settings, context.metrics, limit
        )
    if services.store is None:
        raise StartError(f"agent {entry.name}: it takes requests, but the instance has neither NATS nor Redis")
    # The same name after a restart, so that the agent finds its own unfinished requests again.
    name = f"{context.instance.host}/{context.instance.unit}/{entry.name}/{entry.replica}"
    return Consumer(entry.name, name, agent.handle, services.store, settings, context.metrics)


async def announce_agent(agent: Agent, services: Services, check_services: Callable[[], dict[str, str]]) -> None:
    """Answer for the agent's health over NATS, and write where it listens, if its health has a subject."""
    subject = agent.context.entry.health_subject or agent.health_subject
    if services.bus is None or subject is None:
        return
    from agent_runtime.bus.discovery import announce
    from agent_runtime.bus.health import serve_health

    await serve_health(services.bus, subject, agent, check_services)
    instance, entry = agent.context.instance, agent.context.entry
    if services.consul is not None:
        from agent_runtime.stores.consul import register

        agent.context.spawn(register(services.consul, instance, entry, agent.find_problems), "discovery")
        return
    agent.context.spawn(announce(services.bus, instance, entry), "discovery")
