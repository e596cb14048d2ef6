"""One run inside the worker process: its state, its hosts' guards, and what it tells the parent."""

from __future__ import annotations

from collections.abc import Callable

from pyinfra.api.host import Host
from pyinfra_cli.exceptions import UnexpectedExternalError

from groundwork.engine.capture import LogCapture
from groundwork.engine.errors import describe_error
from groundwork.engine.events import (
    Event,
    HostFailed,
    LogLine,
    OperationFinished,
    OperationStarted,
)
from groundwork.engine.guard import HostGuard
from groundwork.engine.redaction import Redactor
from groundwork.engine.request import RunRequest
from groundwork.engine.results import OperationResult
from groundwork.engine.session import EngineState
from groundwork.problems import Problem, ProblemError


class Run:
    """What the stages of one run share."""

    def __init__(self, request: RunRequest, send: Callable[[Event], None]) -> None:
        self.request = request
        self._send = send
        self.redact = Redactor()
        self.capture = LogCapture(self.log, request.verbose)
        self.state: EngineState
        self.guards: dict[Host, HostGuard] = {}
        self.problems: list[Problem] = []
        self.stopping = False
        """Set when the user stops the run: nothing new is begun."""
        self._done: dict[Host, set[str]] = {}

    def emit(self, event: Event) -> None:
        """Tell the parent, secrets masked."""
        self._send(event)

    def log(self, line: LogLine) -> None:
        """Pass a line of pyinfra's log on."""
        self._send(line.model_copy(update={"message": self.redact(line.message)}))

    def start(self, host: Host, operation: str) -> None:
        """Say that ``host`` begins an operation (its hash)."""
        self.capture.take_errors(host)
        self._send(OperationStarted(host=host.name, name=self.name_of(operation)))

    def finish(self, host: Host, operation: str, result: OperationResult) -> None:
        """Say how an operation (its hash) ended on ``host``."""
        self._done.setdefault(host, set()).add(operation)
        masked = result.model_copy(
            update={
                "error": self.redact(result.error),
                "diff": self.redact.lines(result.diff),
                "commands": tuple(self.redact(command) for command in result.commands),
            }
        )
        self._send(OperationFinished(host=host.name, operation=masked))

    def is_done(self, host: Host, operation: str) -> bool:
        """Whether an operation (its hash) has been reported for ``host``."""
        return operation in self._done.get(host, set())

    def fail(self, host: Host, stage: str, reason: str) -> None:
        """Take ``host`` out of the run and say why."""
        self.state.drop(host)
        self._send(HostFailed(host=host.name, stage=stage, reason=self.redact(reason)))

    def explain(self, host: Host, error: BaseException | None) -> str:
        """Why something failed on ``host``: the guard's word, what was logged, the exception."""
        guard = self.guards.get(host)
        note = (guard.lost or guard.take_note()) if guard else ""
        logged = self.capture.take_errors(host)
        if isinstance(_cause(error), ProblemError):
            self._note_problems(_cause(error))
        told = describe_error(error) if error is not None else ""
        parts: list[str] = []
        for part in (note, logged, told):
            if part and not any(part in earlier for earlier in parts):
                parts.append(part)
        return "\n".join(parts) or "it failed without a message"

    def name_of(self, operation: str) -> str:
        """The name an operation (its hash) was given."""
        return ", ".join(sorted(self.state.get_op_meta(operation).names))

    def _note_problems(self, error: BaseException | None) -> None:
        if isinstance(error, ProblemError):
            self.problems += [problem for problem in error.problems if problem not in self.problems]


def _cause(error: BaseException | None) -> BaseException | None:
    return error.exception if isinstance(error, UnexpectedExternalError) else error
