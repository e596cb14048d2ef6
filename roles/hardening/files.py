"""Requirements on files: our own, those of others, their attributes, and that there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from typing_extensions import override

from roles.hardening.control import Question, Requirement, View
from roles.hardening.draft import Draft

Lines = tuple[str, ...]


@dataclass(frozen=True)
class OwnLines(Requirement):
    """Lines of a file that is the role's own; ``lines`` may depend on the host."""

    path: str
    lines: Lines | Callable[[View], Lines]

    def wanted(self, view: View) -> Lines:
        """The lines for one host."""
        return self.lines if isinstance(self.lines, tuple) else self.lines(view)

    @override
    def questions(self) -> Iterable[Question]:
        return [("file", self.path)]

    @override
    def judge(self, view: View) -> list[str]:
        present = set((view.content(self.path) or "").splitlines())
        return [f"{self.path} lacks {line!r}" for line in self.wanted(view) if line and line not in present]

    @override
    def lay_down(self, view: View) -> Mapping[str, Lines]:
        return {self.path: self.wanted(view)}


@dataclass(frozen=True)
class Setting(Requirement):
    """A setting ``key = value`` or ``key value`` in a file that a package owns; the last one given counts.

    ``accept`` judges a value that is there (None: there is none); equality by default. ``package`` brings the file:
    without it there is nothing to judge unless the control requires it.
    """

    path: str
    key: str
    value: str
    separator: str = " "
    accept: Callable[[str | None], bool] | None = None
    check: str = ""
    reload: str = ""

    @override
    def questions(self) -> Iterable[Question]:
        return [("file", self.path)]

    def read(self, text: str) -> str | None:
        """The value that counts, or None."""
        pattern = re.compile(rf"^[ \t]*{re.escape(self.key)}[ \t]*{self._sign()}[ \t]*(.*?)[ \t]*$", re.MULTILINE)
        found = pattern.findall(text)
        return str(found[-1]).strip() if found else None

    def _sign(self) -> str:
        return "=" if self.separator.strip() == "=" else r"[ \t]"

    @override
    def judge(self, view: View) -> list[str]:
        text = view.content(self.path)
        if text is None:
            return [f"{self.path} is missing"]
        given = self.read(text)
        good = self.accept(given) if self.accept else given == self.value
        return [] if good else [f"{self.path}: {self.key} is {given if given is not None else 'not set'}"]

    def change(self, text: str) -> str:
        """The text with the setting once; a line that is commented out keeps its place as a comment."""
        line = f"{self.key}{self.separator}{self.value}"
        pattern = re.compile(rf"^[ \t]*{re.escape(self.key)}[ \t]*{self._sign()}.*$\n?", re.MULTILINE)
        position = pattern.search(text)
        rest = pattern.sub("", text)
        at = position.start() if position else len(rest)
        head, tail = rest[:at], rest[at:]
        head += "" if not head or head.endswith("\n") else "\n"
        return f"{head}{line}\n{tail}"

    @override
    def mend(self, view: View, draft: Draft) -> None:
        if self.judge(view):
            draft.edit(self.path, self.change, self.check)
            if self.reload:
                draft.reloads[self.reload] = None


@dataclass(frozen=True)
class NoLine(Requirement):
    """No line of a file matches a pattern (regular expression, a whole line)."""

    path: str
    pattern: str
    check: str = ""

    @override
    def questions(self) -> Iterable[Question]:
        return [("file", self.path)]

    @override
    def judge(self, view: View) -> list[str]:
        wrong = [line for line in (view.content(self.path) or "").splitlines() if re.fullmatch(self.pattern, line)]
        return [f"{self.path} has {line.strip()!r}" for line in wrong]

    @override
    def mend(self, view: View, draft: Draft) -> None:
        if self.judge(view):
            draft.edit(self.path, self._without, self.check)

    def _without(self, text: str) -> str:
        kept = [line for line in text.splitlines(keepends=True) if not re.fullmatch(self.pattern, line.rstrip("\n"))]
        return "".join(kept)


@dataclass(frozen=True)
class Attributes(Requirement):
    """Paths (a pattern) have no permission bit besides ``mode``, and one of the owners; absent paths are fine.

    The first of ``users`` and ``groups`` is set where none of them owns it. ``exact`` sets the mode itself.
    """

    pattern: str
    mode: int
    users: tuple[str, ...] = ("root",)
    groups: tuple[str, ...] = ("root",)
    kinds: tuple[str, ...] = ("file", "directory")
    exclude: str = ""
    exact: bool = False

    @override
    def questions(self) -> Iterable[Question]:
        return [("glob", self.pattern)]

    def _wrong(self, view: View) -> dict[str, tuple[str, dict[str, object]]]:
        wrong: dict[str, tuple[str, dict[str, object]]] = {}
        for path, entry in view.ask("glob", self.pattern).items():
            if entry["kind"] not in self.kinds or (self.exclude and re.fullmatch(self.exclude, path)):
                continue
            mode = int(entry["mode"])
            changes: dict[str, object] = {}
            if mode & ~self.mode or (self.exact and mode != self.mode):
                changes["mode"] = self.mode if self.exact else mode & self.mode
            if self.users and entry["user"] not in self.users:
                changes["user"] = self.users[0]
            if self.groups and entry["group"] not in self.groups:
                changes["group"] = self.groups[0]
            if changes:
                wrong[path] = (f"{path} is {mode:04o} {entry['user']}:{entry['group']}", changes)
        return wrong

    @override
    def judge(self, view: View) -> list[str]:
        return [told for told, _ in self._wrong(view).values()]

    @override
    def mend(self, view: View, draft: Draft) -> None:
        for path, (_, changes) in self._wrong(view).items():
            draft.own(path, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Absent(Requirement):
    """No path matches a pattern."""

    pattern: str

    @override
    def questions(self) -> Iterable[Question]:
        return [("glob", self.pattern)]

    @override
    def judge(self, view: View) -> list[str]:
        return [f"{path} is there" for path in view.ask("glob", self.pattern)]

    @override
    def mend(self, view: View, draft: Draft) -> None:
        for path in view.ask("glob", self.pattern):
            draft.removals[path] = None


@dataclass(frozen=True)
class Whole(Requirement):
    """A whole file of somebody else's with a text of ours, such as a login banner."""

    path: str
    text: str | Callable[[View], str]
    mode: int = 0o644
    reload: str = ""
    tags: tuple[str, ...] = field(default=())

    def wanted(self, view: View) -> str:
        """The text for one host."""
        return self.text if isinstance(self.text, str) else self.text(view)

    @override
    def questions(self) -> Iterable[Question]:
        return [("file", self.path)]

    @override
    def judge(self, view: View) -> list[str]:
        content = view.content(self.path)
        if content is None:
            return [f"{self.path} is missing"]
        return [] if content == self.wanted(view) else [f"{self.path} has another text"]

    @override
    def mend(self, view: View, draft: Draft) -> None:
        if self.judge(view):
            draft.edit(self.path, lambda _: self.wanted(view))
            draft.own(self.path, self.mode, "root", "root")
            if self.reload:
                draft.reloads[self.reload] = None
