"""One hardening control, and what it is judged by: plain data and pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from groundwork.report.hardening import Level

if TYPE_CHECKING:
    from roles.hardening.draft import Draft

LEVELS = tuple(Level)
Question = tuple[str, str]
"""Kind of question for ``onhost/look.py`` and its argument."""


@dataclass(frozen=True)
class View:
    """What one host answered, and what it carries by declaration or by what was found there."""

    answers: Mapping[str, Mapping[str, Any]] = field(repr=False)
    carries: frozenset[str] = frozenset()
    """Workloads: ``containers``, ``gpu``, ``vpn``, and the kinds of services and roles of the topology."""
    login: str = ""
    """The account that runs come in through."""
    controllers: tuple[str, ...] = ()
    """Networks that runs come from, where they are declared."""

    def ask(self, kind: str, argument: str = "") -> Any:
        """The answer to one question. Raises KeyError for one that was not put."""
        return self.answers[kind][argument]

    @property
    def container(self) -> bool:
        """Whether the host shares another machine's kernel."""
        return bool(self.ask("host")["container"])

    @property
    def release(self) -> str:
        """Codename of the host's Debian."""
        return str(self.ask("host")["release"])

    def content(self, path: str) -> str | None:
        """Text of a file, or None where there is none."""
        entry = self.ask("file", path)
        text = entry.get("content")
        return None if text is None else str(text)

    def installed(self, package: str) -> bool:
        """Whether a package is installed."""
        return bool(self.ask("package", package))


class Requirement:
    """One thing a control wants of a host: what to ask, how to judge the answer, how to mend it."""

    needs_kernel = False
    """Whether the effective state is only there with a kernel of one's own."""

    def questions(self) -> Iterable[Question]:
        """What has to be asked; ``("host", "")`` always is."""
        return ()

    def judge(self, view: View) -> list[str]:
        """What is wrong, one fact each; empty when it is as wanted."""
        raise NotImplementedError

    def lay_down(self, view: View) -> Mapping[str, tuple[str, ...]]:
        """Lines for files that are the role's own, by path."""
        return {}

    def packages(self, view: View) -> tuple[str, ...]:
        """Packages that have to be there before anything else is mended."""
        return ()

    def mend(self, view: View, draft: Draft) -> None:
        """Put into the draft what has to change besides the role's own files."""


@dataclass(frozen=True)
class Control:
    """A control: what it is for, where it comes from, from which level on, and what it requires.

    ``unless`` names workloads that it would break and why; ``only`` the ones that it is for. ``own_kernel`` says
    that without a kernel of one's own it means nothing at all (a requirement's ``needs_kernel`` says that only a
    part of it is judged there).
    """

    id: str
    title: str
    rationale: str
    references: tuple[str, ...]
    level: Level
    requires: tuple[Requirement, ...]
    group: str = ""
    own_kernel: bool = False
    unless: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[str] = frozenset()

    @property
    def needs_kernel(self) -> bool:
        """Whether a container can show no more than a part of it."""
        return self.own_kernel or any(requirement.needs_kernel for requirement in self.requires)

    def questions(self) -> set[Question]:
        """All questions of its requirements."""
        return {question for requirement in self.requires for question in requirement.questions()}

    def judge(self, view: View) -> list[str]:
        """What is wrong on a host, over all requirements."""
        return [fault for requirement in self.requires for fault in requirement.judge(view)]

    def exclusion(self, view: View) -> str:
        """Why it does not apply to a host; empty where it does."""
        if self.own_kernel and view.container:
            return "needs a kernel of its own; the host is a container"
        for workload in sorted(view.carries):
            if workload in self.unless:
                return self.unless[workload]
        if self.only and not self.only & view.carries:
            return f"is for hosts with {', '.join(sorted(self.only))}"
        return ""
