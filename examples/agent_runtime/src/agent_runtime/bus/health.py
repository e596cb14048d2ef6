"""Health over NATS: a request to an agent's subject is answered like a request to /health and /ready."""

from __future__ import annotations

import json
from collections.abc import Callable

from nats.aio.msg import Msg

from agent_runtime import __version__
from agent_runtime.agent import Agent
from agent_runtime.bus.connection import Bus


async def serve_health(bus: Bus, subject: str, agent: Agent, check_services: Callable[[], dict[str, str]]) -> None:
    """Answer health requests from now on; each replica answers, so that whoever asks may count them.

    Args:
        bus: the connection.
        subject: such as `communication.health`.
        agent: whose health it is.
        check_services: returns the state of each thing the agent needs; "ok" is good, all else is not.
    """
    entry = agent.context.entry

    async def answer(message: Msg) -> None:
        if not message.reply:
            return
        problems, checks = agent.find_problems(), check_services()
        ready = all(state == "ok" for state in checks.values())
        content = {
            "status": "unhealthy" if problems else "ok",
            "ready": ready and not problems,
            "agent": entry.name,
            "replica": entry.replica,
            "version": __version__,
            "problems": problems,
            "checks": checks,
            **agent.describe(),
        }
        await bus.publish(message.reply, json.dumps(content).encode())

    await bus.subscribe(subject, answer)
