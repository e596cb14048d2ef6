"""Adds the worker's events up to a result, so that even a run that was killed has one."""

from __future__ import annotations

import time

from groundwork.engine.events import (
    Event,
    HostFailed,
    OperationFinished,
    RunFinished,
    StageStarted,
)
from groundwork.engine.request import RunRequest
from groundwork.engine.results import HostResult, OperationResult, RunResult
from groundwork.problems import Problem


class Tally:
    """What is known about a run so far.

    Feed every event to ``add`` in the order it arrives and ask for ``result`` at any time.
    """

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._started = time.monotonic()
        self._operations: dict[str, list[OperationResult]] = {}
        self._last_seen: dict[str, float] = {}
        self._failures: dict[str, HostFailed] = {}
        self._stages: list[tuple[str, float]] = []
        self._problems: tuple[Problem, ...] = ()
        self.interrupted = False
        self.finished = False

    def add(self, event: Event) -> None:
        """Take one event into account."""
        now = time.monotonic()
        match event:
            case StageStarted():
                self._stages.append((event.stage, now))
                for host in event.hosts:
                    self._operations.setdefault(host, [])
            case HostFailed():
                self._operations.setdefault(event.host, [])
                self._failures.setdefault(event.host, event)
                self._last_seen[event.host] = now
            case OperationFinished():
                self._operations.setdefault(event.host, []).append(event.operation)
                self._last_seen[event.host] = now
            case RunFinished():
                self._problems = event.problems
                self.interrupted = self.interrupted or event.interrupted
                self._stages.append(("", now))
                self.finished = True
            case _:
                pass

    def interrupt(self) -> None:
        """Note that the user stopped the run."""
        self.interrupted = True

    def result(self) -> RunResult:
        """The result of everything added so far."""
        now = time.monotonic()
        ends = [started for _, started in self._stages[1:]] + [now]
        return RunResult(
            mode=self._request.mode,
            environment=self._request.environment,
            hosts=tuple(self._host(name, now) for name in self._operations),
            problems=self._problems,
            interrupted=self.interrupted,
            seconds=round(now - self._started, 3),
            stage_seconds={
                stage: round(end - started, 3)
                for (stage, started), end in zip(self._stages, ends, strict=False)
                if stage
            },
        )

    def _host(self, name: str, now: float) -> HostResult:
        failure = self._failures.get(name)
        return HostResult(
            name=name,
            failed=failure is not None,
            stage=failure.stage if failure else "",
            reason=failure.reason if failure else "",
            operations=tuple(self._operations[name]),
            seconds=round(self._last_seen.get(name, now) - self._started, 3),
        )
