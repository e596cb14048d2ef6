"""Trust scores of agents, kept in Redis so that every replica sees and changes the same ones.

Choices, where the system's documents leave them open: an interaction changes the score of both agents that took part;
a score never leaves 0 to 100; an agent is known from its first interaction on and starts with the initial score; the
same interaction identifier counts once within ten minutes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from agent_runtime.chorus.settings import ChorusSettings
from agent_runtime.stores.redis_store import Command, RedisStore
from agent_runtime.work.messages import pair_fields

log = logging.getLogger(__name__)
LOWEST_SCORE, HIGHEST_SCORE = 0.0, 100.0
CONFLICT, COOPERATION = "conflict", "cooperation"
KINDS = (CONFLICT, COOPERATION)
# How long a repeated request is recognised; 57.6 interactions/s make 35 000 keys, some 4 MB.
SEEN_SECONDS = 600
AUDIT_KEPT = 100_000
LARGEST_AGENTS = 1000


class TooManyAgentsError(Exception):
    """No further agent can be taken in."""


@dataclass(frozen=True)
class Interaction:
    """What two agents did to each other."""

    identifier: str
    agent: str
    peer: str
    kind: str


@dataclass(frozen=True)
class Trust:
    """An agent's standing."""

    agent: str
    score: float
    trusted: bool
    interactions: int
    conflicts: int
    cooperations: int
    updated: float  # seconds since the epoch

    def describe(self) -> dict[str, Any]:
        """Return the standing for JSON."""
        return {**vars(self), "updated": round(self.updated, 3)}


def change_score(score: float, kind: str, penalty: float, bonus: float) -> float:
    """Return the score after one interaction, within 0 to 100 and without the noise of binary fractions."""
    changed = score - penalty if kind == CONFLICT else score + bonus
    return round(min(HIGHEST_SCORE, max(LOWEST_SCORE, changed)), 6)


class TrustBook:
    """Reads and changes the standings."""

    def __init__(self, store: RedisStore, settings: ChorusSettings) -> None:
        self._store, self._settings = store, settings
        self._lock = asyncio.Lock()
        # An interaction changes two agents, so all of them are one unit of work.
        self._prefix = f"{store.prefix}{store.scope('trust')}"
        self._agents, self._audit = f"{self._prefix}agents", f"{self._prefix}audit"

    def _key(self, agent: str) -> str:
        return f"{self._prefix}trust:{agent}"

    def _window_key(self, agent: str) -> str:
        return f"{self._prefix}window:{agent}"

    def _parse(self, agent: str, flat: list[str]) -> Trust:
        fields = pair_fields(flat)
        score = float(fields.get("score", self._settings.trust_initial))
        counts = {name: int(fields.get(name, "0")) for name in ("interactions", "conflicts", "cooperations")}
        trusted = score >= self._settings.trust_threshold
        return Trust(agent, score, trusted, **counts, updated=float(fields.get("updated", "0")))

    async def record(self, interaction: Interaction) -> tuple[list[Trust], bool]:
        """Count an interaction, and return both standings and whether it had been counted before.

        The scores, the windows and the audit entry change together or not at all.

        Raises:
            TooManyAgentsError: an agent is new and 1000 are known.
            StoreError: Redis did not answer; the interaction may be sent again with the same identifier.
        """
        names = (interaction.agent, interaction.peer)
        seen = f"{self._prefix}seen:{interaction.identifier}"
        keys = [seen, *(self._key(name) for name in names)]

        def plan(answers: list[Any]) -> tuple[list[Command], tuple[list[Trust], bool]]:
            before = [self._parse(name, answers[place]) for place, name in enumerate(names)]
            if answers[2]:
                return [], (before, True)
            new = sum(trust.interactions == 0 for trust in before)
            if new and answers[3] + new > LARGEST_AGENTS:
                raise TooManyAgentsError(f"{LARGEST_AGENTS} agents are known already")
            now = time.time()
            after = [self._apply(trust, interaction.kind, now) for trust in before]
            commands: list[Command] = [("SET", seen, "1", "EX", SEEN_SECONDS), ("SADD", self._agents, *names)]
            for trust in after:
                commands += self._write(trust, interaction.kind)
            # fmt: off
            commands.append((
                "XADD", self._audit, "MAXLEN", "~", AUDIT_KEPT, "*",
                "id", interaction.identifier, "kind", interaction.kind,
                "agent", interaction.agent, "peer", interaction.peer,
                "agent_score", repr(after[0].score), "peer_score", repr(after[1].score),
            ))
            # fmt: on
            return commands, (after, False)

        reads: list[Command] = [("HGETALL", self._key(name)) for name in names]
        reads += [("EXISTS", seen), ("SCARD", self._agents)]
        # One at a time in this process: those that run at once mostly undo each other's work when all agents are busy.
        async with self._lock:
            standings, repeated = await self._store.update(keys, reads, plan)
        if not repeated:
            scores = {trust.agent: trust.score for trust in standings}
            facts = {"interaction": interaction.identifier, "kind": interaction.kind, "scores": scores}
            log.info("interaction counted", extra={"audit": True, **facts})
        return standings, repeated

    def _apply(self, trust: Trust, kind: str, now: float) -> Trust:
        settings = self._settings
        score = change_score(trust.score, kind, settings.trust_conflict_penalty, settings.trust_cooperation_bonus)
        return Trust(
            trust.agent,
            score,
            score >= settings.trust_threshold,
            trust.interactions + 1,
            trust.conflicts + (kind == CONFLICT),
            trust.cooperations + (kind == COOPERATION),
            now,
        )

    def _write(self, trust: Trust, kind: str) -> list[Command]:
        window = self._window_key(trust.agent)
        # fmt: off
        return [
            ("HSET", self._key(trust.agent), "score", repr(trust.score), "interactions", trust.interactions,
             "conflicts", trust.conflicts, "cooperations", trust.cooperations, "updated", repr(trust.updated)),
            ("LPUSH", window, kind),
            ("LTRIM", window, 0, self._settings.analysis_window - 1),
        ]
        # fmt: on

    async def find(self, agent: str) -> Trust | None:
        """Return an agent's standing, or None if it is unknown."""
        flat = await self._store.run("HGETALL", self._key(agent))
        return self._parse(agent, flat) if flat else None

    async def list_all(self) -> list[Trust]:
        """Return every agent's standing, by name."""
        names = sorted(await self._store.run("SMEMBERS", self._agents))
        if not names:
            return []
        rows = await self._store.run_together([("HGETALL", self._key(name)) for name in names])
        return [self._parse(name, flat) for name, flat in zip(names, rows, strict=True)]

    async def list_windows(self, names: list[str]) -> list[list[str]]:
        """Return the kinds of each agent's last interactions, the newest first."""
        if not names:
            return []
        last = self._settings.analysis_window - 1
        return await self._store.run_together([("LRANGE", self._window_key(name), 0, last) for name in names])

    def list_recent(self, count: int) -> Awaitable[list[list[Any]]]:
        """Return the newest entries of the audit."""
        return self._store.run("XREVRANGE", self._audit, "+", "-", "COUNT", count)
