"""What an agent is to the runtime, and what the runtime gives to an agent."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute

from agent_runtime.instance import AgentEntry, Endpoint, Instance
from agent_runtime.logs import current_agent
from agent_runtime.metrics import AgentMetrics
from agent_runtime.settings import RuntimeSettings
from agent_runtime.stores.redis_store import RedisStore
from agent_runtime.tls import Tls
from agent_runtime.work.entries import PermanentError
from agent_runtime.work.messages import Work
from agent_runtime.work.requests import Requests

if TYPE_CHECKING:
    from agent_runtime.bus.connection import Bus
    from agent_runtime.stores.consul import Buckets, Consul
    from agent_runtime.stores.database import Database

log = logging.getLogger(__name__)


@dataclass
class AgentContext:
    """An agent's identity and means: None is what the instance file does not offer."""

    entry: AgentEntry
    instance: Instance
    settings: RuntimeSettings
    environ: Mapping[str, str]
    metrics: AgentMetrics
    store: RedisStore | None
    requests: Requests | None
    tls: Tls | None = None
    bus: Bus | None = None
    database: Database | None = None
    consul: Consul | None = None
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The agent's name in the manifest."""
        return self.entry.name

    @property
    def buckets(self) -> Buckets | None:
        """Where key-value buckets are: in Consul where the instance has one, else in NATS."""
        return self.consul or self.bus

    def peers(self, agent: str) -> tuple[Endpoint, ...]:
        """Return where another agent's replicas listen."""
        return tuple(self.instance.peers.get(agent, ()))

    @property
    def client_tls(self) -> ssl.SSLContext | None:
        """The context of the moment for calls to peers, or None where they speak plain HTTP."""
        return self.tls.client if self.tls else None

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a background task for the agent's lifetime. If it fails, the agent counts as unhealthy."""
        self._tasks[name] = asyncio.create_task(work, name=f"{self.name}: {name}")

    def find_problems(self) -> list[str]:
        """Return which background tasks have failed, and why."""
        return [
            f"{self.name}: {name} failed: {type(error).__name__}: {error}"
            for name, task in self._tasks.items()
            if task.done() and not task.cancelled() and (error := task.exception()) is not None
        ]

    async def cancel_tasks(self) -> None:
        """End the background tasks."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


class Agent:
    """Base of all agents. A module's `create_agent(context)` returns one."""

    #: Whether requests from other agents are taken from the queue.
    accepts_work = False
    #: Where health is asked for over NATS; the instance file's wins.
    health_subject: str | None = None
    #: Requests handled at once; None is the setting `WORK_CONCURRENCY`.
    work_concurrency: int | None = None

    def __init__(self, context: AgentContext) -> None:
        self.context = context
        self.log = logging.LoggerAdapter(logging.getLogger(type(self).__module__), {"agent": context.name})

    def routes(self) -> list[BaseRoute]:
        """Return the agent's own HTTP routes; /health, /ready and /metrics are there already."""
        return []

    async def start(self) -> None:
        """Begin; the services answer by now. The agent serves after this returns."""

    async def stop(self) -> None:
        """End; no requests arrive any more."""

    async def handle(self, work: Work) -> dict[str, Any]:
        """Handle a request from another agent. It may come more than once with the same identifier.

        Raises:
            PermanentError: a further try cannot help. Any other exception means: try again later.
        """
        raise PermanentError(f"{self.context.name} takes no requests")

    async def give_up(self, work: Work, reason: str) -> None:
        """Note that a request is set aside after its last try. Only over NATS."""

    def is_open(self) -> bool:
        """Tell whether requests are taken now; an agent that stands by takes none. Only over NATS."""
        return True

    def describe(self) -> dict[str, Any]:
        """Return what the answer about the agent's health contains besides."""
        return {}

    def find_problems(self) -> list[str]:
        """Return why the agent is unhealthy, if it is: the watchdog then restarts the process."""
        return self.context.find_problems()


def set_current_agent(name: str) -> None:
    """Name the agent in the log lines of the running task and of those that it starts."""
    current_agent.set(name)
