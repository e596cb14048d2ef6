"""Answers facts from what was asked ahead of time, and remembers what is asked for the next run."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from weakref import ref

from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_inventory

from groundwork.connector.context import Identity, Request
from groundwork.connector.grouping import group_requests
from groundwork.connector.lines import Collector
from groundwork.connector.memory import Memory
from groundwork.connector.shell import Answer, GreetingError, RemoteShell, ShellError
from groundwork.connector.shells import Shells
from groundwork.connector.snapshot import Asked, Moment, Snapshot

LARGEST_BATCH = 500_000
"""Characters of commands that are sent before any answer is read: more could fill the channel both ways."""


class FactAnswers:
    """One host's facts within one run."""

    def __init__(self, state: State, host: Host, shells: Shells, enabled: bool) -> None:
        self._state, self._host, self._shells = state, host, shells
        self._enabled = enabled
        self._snapshots: dict[Identity, Snapshot] = {}
        self._asked_for: set[tuple[Identity, str]] = set()
        self._changed = False
        self._memories: dict[str, Memory] = {}
        self._asked = Asked()
        if enabled:
            # Plain pyinfra ends without disconnecting its hosts.
            atexit.register(_save, ref(self))

    def now(self) -> Moment:
        """The present moment of the run."""
        return Moment.now(self._state)

    def find(self, request: Request, start: Callable[[], RemoteShell | None], deadline: float | None) -> Answer | None:
        """The answer to a fact, where it was foreseen and still counts; only one of a command that succeeded.

        Args:
            request: the fact's command.
            start: gives the identity's shell.
            deadline: how long to wait for the answer (monotonic clock). Raises TimeoutError.
        """
        memory = self._memory()
        if memory is None:
            return None
        memory.note(request)
        command = (request.shell, request.text)
        waits = self._asked.is_waiting(self._host, (request.identity, *command))
        # A Python function that asks may wait for something to happen.
        if waits or self._changed or (self._state.is_executing and not self._host.in_op):
            return None
        snapshot = self._take(request.identity, memory, start)
        answer = snapshot.answers.get(command) if snapshot else None
        if snapshot is None or answer is None:
            return None
        if answer.status is None and not self._wait(request.identity, snapshot, answer, deadline):
            return None
        return answer if answer.status == 0 and snapshot.moment.still_counts(self._state) else None

    def keep(self, request: Request, moment: Moment, collector: Collector) -> None:
        """Note a fact's answer that was asked just now, for who asks the same again."""
        snapshot = self._snapshots.get(request.identity)
        if not self._enabled or self._changed or (collector.size and not collector.pieces):
            return
        if snapshot is None or snapshot.moment.changes != moment.changes or snapshot.moment.stage != moment.stage:
            return
        answer = Answer(pieces=collector.pieces)
        answer.close(0)
        snapshot.answers[request.shell, request.text] = answer

    def save(self) -> None:
        """Write down what was asked, without what contains a secret of the site."""
        for memory in self._memories.values():
            if memory.is_changed:
                memory.save(_secret_values())

    def _memory(self) -> Memory | None:
        deploy = self._state.current_deploy_filename
        if not self._enabled or not deploy:
            return None
        if deploy not in self._memories:
            project = str(Path(self._state.cwd or ".").resolve())
            self._memories[deploy] = Memory(project, deploy, self._host.name)
        return self._memories[deploy]

    def _take(self, identity: Identity, memory: Memory, start: Callable[[], RemoteShell | None]) -> Snapshot | None:
        """The snapshot for an identity; asks for what is remembered and was not asked for yet."""
        snapshot = self._snapshots.get(identity)
        now = self.now()
        if snapshot is not None and not snapshot.moment.still_counts(self._state):
            if snapshot.moment.changes != now.changes:
                self._changed = True
                self._snapshots.clear()
                return None
            snapshot = None
        if snapshot is None:
            snapshot = self._snapshots[identity] = Snapshot(now)
            self._asked_for = {one for one in self._asked_for if one[0] != identity}
        if (identity, memory.path.name) not in self._asked_for:
            self._asked_for.add((identity, memory.path.name))
            self._send(snapshot, [one for one in memory.commands(identity) if one not in snapshot.answers], start)
        return snapshot

    def _send(
        self, snapshot: Snapshot, commands: list[tuple[str, str]], start: Callable[[], RemoteShell | None]
    ) -> None:
        shell = start() if commands else None
        if shell is None:
            return
        sizes = accumulate(len(text) for _, text in commands)
        fitting = [command for command, size in zip(commands, sizes, strict=True) if size <= LARGEST_BATCH]
        requests, numbers = group_requests(fitting, shell.next_number)
        try:
            with self._shells.keeping(shell):
                answers = shell.send_ahead(requests, numbers.values())
        except ShellError:
            return
        snapshot.shell = shell
        snapshot.answers.update({command: answers[number] for command, number in numbers.items()})

    def _wait(self, identity: Identity, snapshot: Snapshot, answer: Answer, deadline: float | None) -> bool:
        """Read until the answer is there; where the shell fails, the fact is asked by itself."""
        shell = snapshot.shell
        if shell is None or shell.is_busy:
            return False
        try:
            with self._shells.keeping(shell):
                shell.greet()
                shell.wait_for(answer, deadline)
        except GreetingError:
            self._shells.note_failure(shell)
        except ShellError:
            pass
        else:
            return True
        self._snapshots.pop(identity, None)
        return False


def _save(weak: ref[FactAnswers]) -> None:
    answers = weak()
    if answers is not None:
        answers.save()


def _secret_values() -> list[str]:
    from groundwork.engine.secrets import secret_values

    if not ctx_inventory.isset():
        return []
    return [line for value in secret_values() for line in value.splitlines() if len(line.strip()) > 3]
