"""Answers to facts that were asked ahead of time, and when they stop counting."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass, field

from pyinfra.api.host import Host
from pyinfra.api.state import State

from groundwork.connector.changes import count_changes
from groundwork.connector.shell import Answer, RemoteShell

MOST_AGE = 60.0
"""Seconds that an answer counts at most, for what others change on the host meanwhile."""
MOST_TIMES = 3
"""How often one operation gets the same answer to the same question."""
MOST_SECONDS = 0.5
"""How long it does."""


@dataclass(frozen=True)
class Moment:
    """When answers were asked for: they count as long as nothing has changed since."""

    changes: int
    stage: Hashable
    taken: float

    @classmethod
    def now(cls, state: State) -> Moment:
        """The present moment of a run."""
        # After its plan, pyinfra waits for the user; what is executed then must not rest on what was before.
        stage = state.current_stage if state.should_check_for_changes() else None
        return cls(count_changes(state), stage, time.monotonic())

    def still_counts(self, state: State) -> bool:
        """Whether answers of this moment may be used now."""
        now = Moment.now(state)
        return (self.changes, self.stage) == (now.changes, now.stage) and now.taken - self.taken <= MOST_AGE


@dataclass
class Snapshot:
    """Answers of one moment for commands that run as one identity."""

    moment: Moment
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    """By shell and text of the command."""
    shell: RemoteShell | None = None
    """Whom the answers to come are read from."""


class Asked:
    """Which commands an operation has asked already, and how often.

    Operations ask the same a few times in a row and mean one answer. One that keeps asking waits for something.
    """

    def __init__(self) -> None:
        self._within: Hashable = None
        self._commands: dict[Hashable, tuple[int, float]] = {}

    def is_waiting(self, host: Host, command: Hashable) -> bool:
        """Note that the present operation asks; whether it seems to wait for another answer than it had."""
        within = (host.current_op_hash, host.state.current_stage)
        if host.current_op_hash is None:
            return False
        if within != self._within:
            self._within, self._commands = within, {}
        times, first = self._commands.get(command, (0, time.monotonic()))
        self._commands[command] = (times + 1, first)
        return times >= MOST_TIMES or time.monotonic() - first > MOST_SECONDS
