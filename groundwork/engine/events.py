"""What the worker process tells its parent while it works: one JSON object per line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from groundwork.engine.results import OperationResult
from groundwork.problems import Problem


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageStarted(_Event):
    """The run enters a stage: ``connect``, ``prepare`` or ``execute``."""

    kind: Literal["stage"] = "stage"
    stage: str
    hosts: tuple[str, ...]


class HostConnected(_Event):
    """A host accepted the login."""

    kind: Literal["connected"] = "connected"
    host: str


class HostPrepared(_Event):
    """A host's operations are known."""

    kind: Literal["prepared"] = "prepared"
    host: str
    operations: int


class HostFailed(_Event):
    """A host is out of the run."""

    kind: Literal["host_failed"] = "host_failed"
    host: str
    stage: str
    reason: str


class OperationStarted(_Event):
    """A host begins an operation."""

    kind: Literal["operation_started"] = "operation_started"
    host: str
    name: str


class OperationFinished(_Event):
    """A host ended an operation (in a plan: the plan knows what it would do)."""

    kind: Literal["operation_finished"] = "operation_finished"
    host: str
    operation: OperationResult


class LogLine(_Event):
    """A line that pyinfra logged and that no other event carries."""

    kind: Literal["log"] = "log"
    level: str
    host: str = ""
    message: str


class RunFinished(_Event):
    """The last event: what concerns the run as a whole."""

    kind: Literal["finished"] = "finished"
    problems: tuple[Problem, ...] = ()
    interrupted: bool = False


Event = Annotated[
    StageStarted
    | HostConnected
    | HostPrepared
    | HostFailed
    | OperationStarted
    | OperationFinished
    | LogLine
    | RunFinished,
    Field(discriminator="kind"),
]

_adapter: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(line: str | bytes) -> Event:
    """Read one line that the worker wrote.

    Raises:
        pydantic.ValidationError: the line is not an event.
    """
    return _adapter.validate_json(line)
