"""Requirements that a command or a look over the whole file system judges."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from typing_extensions import override

from roles.hardening.control import Question, Requirement, View
from roles.hardening.draft import Draft

MOST_SHOWN = 5


@dataclass(frozen=True)
class Probe(Requirement):
    """What a command prints: nothing, or a fact for each line that is wrong. The command changes nothing.

    ``fix`` gives the commands that mend, each with the one that takes it back, from the lines that were printed.
    """

    command: str
    fix: Callable[[View, list[str]], Iterable[tuple[str, str]]] | None = None
    touches: tuple[str, ...] = ()
    needs_kernel: bool = False

    @override
    def questions(self) -> Iterable[Question]:
        return [("run", self.command)]

    @override
    def judge(self, view: View) -> list[str]:
        return str(view.ask("run", self.command)["output"]).splitlines()

    @override
    def mend(self, view: View, draft: Draft) -> None:
        found = self.judge(view)
        if found and self.fix:
            for do, undo in self.fix(view, found):
                draft.command(do, undo, self.touches)


@dataclass(frozen=True)
class Output(Requirement):
    """A command's output matches a pattern; ``fix`` and ``undo`` are commands."""

    command: str
    pattern: str
    told: str
    fix: str = ""
    undo: str = ""
    touches: tuple[str, ...] = ()
    needs_kernel: bool = False

    @override
    def questions(self) -> Iterable[Question]:
        return [("run", self.command)]

    @override
    def judge(self, view: View) -> list[str]:
        if self.needs_kernel and view.container:
            return []
        return [] if re.search(self.pattern, view.ask("run", self.command)["output"], re.MULTILINE) else [self.told]

    @override
    def mend(self, view: View, draft: Draft) -> None:
        if self.fix and self.judge(view):
            draft.command(self.fix, self.undo, self.touches)


@dataclass(frozen=True)
class Tree(Requirement):
    """No file or folder of a kind on the host's file systems: ``world``, ``sticky``, ``unowned``, ``privileged``.

    ``allowed`` are paths (a regular expression) that may be; ``change`` mends a path: chmod's or chown's argument.
    """

    kind: str
    told: str
    change: str = ""
    allowed: str = ""

    @override
    def questions(self) -> Iterable[Question]:
        return [("tree", "")]

    def _wrong(self, view: View) -> list[str]:
        return [path for path in view.ask("tree")[self.kind] if not (self.allowed and re.fullmatch(self.allowed, path))]

    @override
    def judge(self, view: View) -> list[str]:
        wrong = self._wrong(view)
        more = [f"and {len(wrong) - MOST_SHOWN} more"] if len(wrong) > MOST_SHOWN else []
        return [f"{path} {self.told}" for path in wrong[:MOST_SHOWN]] + more

    @override
    def mend(self, view: View, draft: Draft) -> None:
        for path in self._wrong(view) if self.change else ():
            draft.command(f"{self.change} -- {shlex.quote(path)}", touches=(path,))


@dataclass(frozen=True)
class Accounts(Requirement):
    """What is wrong with the accounts, by a function of them; ``fix`` mends as a probe's does."""

    find: Callable[[View], list[str]]
    fix: Callable[[View, list[str]], Iterable[tuple[str, str]]] | None = None

    @override
    def questions(self) -> Iterable[Question]:
        return [("accounts", "")]

    @override
    def judge(self, view: View) -> list[str]:
        return self.find(view)

    @override
    def mend(self, view: View, draft: Draft) -> None:
        found = self.judge(view)
        if found and self.fix:
            for do, undo in self.fix(view, found):
                draft.command(do, undo)
