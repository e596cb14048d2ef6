"""Conflict risk, computed at intervals by one of the replicas for all."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import Any

from agent_runtime.chorus.settings import ChorusSettings
from agent_runtime.chorus.trust import CONFLICT, TrustBook
from agent_runtime.stores.redis_store import Command, RedisStore

log = logging.getLogger(__name__)
# With fewer interactions than this, the missing ones count as cooperations: one conflict alone is no pattern.
LEAST_EVIDENCE = 5
PREDICTIONS_KEPT = 100
LEASE_INTERVALS = 3


def compute_risk(window: list[str]) -> float:
    """Return the risk, 0 to 1, that an agent's next interaction is a conflict.

    It is the share of conflicts among its last interactions, the newest weighing most: with n of them the weights
    are n, n-1, ... 1.

    Args:
        window: the kinds of the interactions, the newest first.
    """
    length = max(len(window), LEAST_EVIDENCE)
    total = length * (length + 1) / 2
    conflicts = sum(length - place for place, kind in enumerate(window) if kind == CONFLICT)
    return round(conflicts / total, 4)


@dataclass(frozen=True)
class Lease:
    """The right to predict, held by one replica at a time and lost by silence."""

    store: RedisStore
    owner: str
    seconds: float

    @property
    def _key(self) -> str:
        return f"{self.store.prefix}{self.store.scope('trust')}leader"

    async def take(self) -> bool:
        """Take or prolong the lease and tell whether this replica holds it."""
        milliseconds = int(self.seconds * 1000)
        if await self.store.run("SET", self._key, self.owner, "NX", "PX", milliseconds):
            return True

        def plan(answers: list[Any]) -> tuple[list[Command], bool]:
            if answers[0] != self.owner:
                return [], False
            return [("PEXPIRE", self._key, milliseconds)], True

        return await self.store.update([self._key], [("GET", self._key)], plan)

    async def release(self) -> None:
        """Give the lease up, if this replica holds it."""

        def plan(answers: list[Any]) -> tuple[list[Command], None]:
            return ([("DEL", self._key)] if answers[0] == self.owner else []), None

        await self.store.update([self._key], [("GET", self._key)], plan)

    async def find_owner(self) -> str | None:
        """Return who holds the lease."""
        owner: str | None = await self.store.run("GET", self._key)
        return owner


class Forecast:
    """Computes and stores the risks."""

    def __init__(self, store: RedisStore, book: TrustBook, settings: ChorusSettings, owner: str) -> None:
        self._store, self._book, self._settings = store, book, settings
        prefix = f"{store.prefix}{store.scope('trust')}"
        self._latest, self._recent = f"{prefix}risks", f"{prefix}predictions"
        self.lease = Lease(store, owner, settings.prediction_interval * LEASE_INTERVALS)
        self._reported: set[str] = set()

    async def predict(self) -> list[dict[str, Any]]:
        """Compute every agent's risk, store all of them, and log and keep those that newly reach the threshold."""
        standings = await self._book.list_all()
        windows = await self._book.list_windows([trust.agent for trust in standings])
        now = round(time.time(), 3)
        risks = [
            {"agent": trust.agent, "risk": compute_risk(window), "score": trust.score, "time": now}
            for trust, window in zip(standings, windows, strict=True)
        ]
        risky = {
            str(item["agent"]): item for item in risks if float(str(item["risk"])) >= self._settings.risk_threshold
        }
        commands: list[Command] = [("SET", self._latest, json.dumps({"time": now, "risks": risks}))]
        for name in risky.keys() - self._reported:
            commands += [("LPUSH", self._recent, json.dumps(risky[name]))]
            log.warning(
                "conflict predicted",
                extra={"audit": True, "subject": name, "risk": risky[name]["risk"], "score": risky[name]["score"]},
            )
        commands.append(("LTRIM", self._recent, 0, PREDICTIONS_KEPT - 1))
        await self._store.run_together(commands)
        self._reported = set(risky)
        return risks

    async def read_latest(self) -> dict[str, Any]:
        """Return the newest risks of all agents and when they were computed."""
        text = await self._store.run("GET", self._latest)
        content: dict[str, Any] = json.loads(text) if text else {"time": None, "risks": []}
        return content

    async def list_recent(self, count: int) -> list[dict[str, Any]]:
        """Return the newest predictions that reached the threshold, the newest first."""
        rows = await self._store.run("LRANGE", self._recent, 0, count - 1) if count else []
        return [json.loads(row) for row in rows]
