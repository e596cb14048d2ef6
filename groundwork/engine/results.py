"""What a run did: the models that the engine returns and ``--json`` prints."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from pydantic import BaseModel, ConfigDict, Field

from groundwork.problems import Problem


class ExitCode(IntEnum):
    """Exit codes of every command (DESIGN, "Exit codes and output")."""

    GOOD = 0
    ERROR = 1
    FINDINGS = 2
    INTERRUPTED = 130


class Mode(StrEnum):
    """What to do with the operations of the deploy files."""

    PLAN = "plan"
    APPLY = "apply"


class OperationStatus(StrEnum):
    """How one operation ended on one host."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    IGNORED = "ignored"
    """Failed, but the deploy said that a failure does not matter."""
    WOULD_CHANGE = "would_change"
    MAY_CHANGE = "may_change"
    """Depends on the output of an operation that has not run, so the plan cannot tell."""
    WOULD_FAIL = "would_fail"
    NOT_RUN = "not_run"


class Result(BaseModel):
    """Common ground of the result models: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self, indent: int | None = 2) -> str:
        """The result as one JSON document."""
        return self.model_dump_json(indent=indent)


class OperationResult(Result):
    """One operation on one host."""

    name: str
    status: OperationStatus
    seconds: float = 0.0
    error: str = ""
    diff: tuple[str, ...] = ()
    """Lines of a unified diff, each with ``+``, ``-``, ``@@``, ``#`` or two blanks in front; empty without one."""
    commands: tuple[str, ...] = ()
    """What a plan would execute, secrets masked; empty after ``apply``."""


class HostResult(Result):
    """One host: its operations in the order they ran, and why it failed if it did."""

    name: str
    failed: bool = False
    stage: str = ""
    """Where it failed: ``connect``, ``prepare`` or ``execute``."""
    reason: str = ""
    operations: tuple[OperationResult, ...] = ()
    seconds: float = 0.0

    def count(self, *statuses: OperationStatus) -> int:
        """How many operations ended in one of ``statuses``."""
        return sum(1 for operation in self.operations if operation.status in statuses)

    @property
    def changed(self) -> int:
        """Operations that changed something, or would."""
        return self.count(OperationStatus.CHANGED, OperationStatus.WOULD_CHANGE)


class RunResult(Result):
    """One ``plan`` or ``apply`` over all hosts."""

    mode: Mode
    environment: str = ""
    hosts: tuple[HostResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    interrupted: bool = False
    seconds: float = 0.0
    stage_seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Operations that changed something (or would), on all hosts together."""
        return sum(host.changed for host in self.hosts)

    @property
    def failed_hosts(self) -> tuple[HostResult, ...]:
        """The hosts that did not get to the end."""
        return tuple(host for host in self.hosts if host.failed)

    @property
    def retry(self) -> str:
        """The option that repeats the run on the failed hosts alone; empty if none failed."""
        names = ",".join(host.name for host in self.failed_hosts)
        return f"--limit {names}" if names else ""

    @property
    def exit_code(self) -> ExitCode:
        """0 good, 2 a plan that would change something, 1 an error, 130 stopped by the user."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if self.problems or self.failed_hosts:
            return ExitCode.ERROR
        if self.mode is Mode.PLAN and self.changed:
            return ExitCode.FINDINGS
        return ExitCode.GOOD
