"""What a look for drift finds: the models that ``--json`` prints and the history keeps."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from groundwork.engine.results import ExitCode, Result
from groundwork.problems import Problem


class Source(StrEnum):
    """How something was found."""

    PLAN = "plan"
    """An apply would change it."""
    VERIFY = "verify"
    """A check of the live host fails."""
    BASELINE = "baseline"
    """It is not as it was when the host was last said to be right, whether or not it is declared."""


class Drift(Result):
    """One thing that is not as it should be."""

    host: str
    source: Source
    category: str
    """``operation``, the check's role, or what kind of thing it is (``file``, ``user``, ``unit`` ...)."""
    subject: str
    """Name of the operation or check, or the thing itself."""
    was: str = ""
    now: str = ""
    first_seen: str = ""
    """When a look first found it in this state (ISO 8601)."""
    by: tuple[str, ...] = ()
    """Who or what did it, as the host's audit log tells; the latest last."""

    @property
    def key(self) -> str:
        """What makes it the same drift at the next look."""
        return "\t".join((self.host, self.source, self.category, self.subject))


class DriftReport(Result):
    """One look at an environment."""

    environment: str
    time: str
    """When it began (ISO 8601)."""
    drifts: tuple[Drift, ...] = ()
    ended: tuple[Drift, ...] = ()
    """What the look before found and this one does not."""
    baselines: dict[str, str] = Field(default_factory=dict)
    """When each host was last said to be right; a host that was never looked at before has this report's time."""
    sources: tuple[Source, ...] = ()
    """What was compared."""
    hosts: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0

    @property
    def exit_code(self) -> ExitCode:
        """0 nothing, 2 drift, 1 a host could not be looked at."""
        if self.problems:
            return ExitCode.ERROR
        return ExitCode.FINDINGS if self.drifts else ExitCode.GOOD
