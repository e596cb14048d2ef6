"""What has to change on a host to mend a group of controls, collected before anything is done."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from roles.hardening.control import View


@dataclass
class FileAttributes:
    """Permission bits and owner; None leaves one alone."""

    mode: int | None = None
    user: str | None = None
    group: str | None = None


@dataclass
class Command:
    """A command that changes something, with the one that takes it back (empty where there is nothing to take back)."""

    do: str
    undo: str = ""


@dataclass
class Draft:
    """Changes by kind; each requirement adds its own."""

    view: View = field(repr=False)
    contents: dict[str, str] = field(default_factory=dict)
    """New text of files that somebody else owns."""
    checks: dict[str, str] = field(default_factory=dict)
    """What must accept a new text, with ``{candidate}``."""
    modes: dict[str, FileAttributes] = field(default_factory=dict)
    removals: dict[str, None] = field(default_factory=dict)
    """Paths to remove."""
    purges: dict[str, None] = field(default_factory=dict)
    """Packages to remove."""
    touched: dict[str, None] = field(default_factory=dict)
    """Further paths that commands change."""
    commands: dict[str, Command] = field(default_factory=dict)
    """By what they do, in order."""
    reloads: dict[str, None] = field(default_factory=dict)
    """Commands that make services read what was changed, run last."""

    def edit(self, path: str, change: Callable[[str], str], check: str = "") -> None:
        """Change the text of a file; several changes build on each other. A file that is not there begins empty."""
        current = self.contents.get(path)
        if current is None:
            current = self.view.content(path) or ""
        changed = change(current)
        if changed != current or self.view.content(path) is None:
            self.contents[path] = changed
            if check:
                self.checks[path] = check

    def own(self, path: str, mode: int | None = None, user: str | None = None, group: str | None = None) -> None:
        """Set permission bits or owner of a path."""
        entry = self.modes.setdefault(path, FileAttributes())
        entry.mode = mode if mode is not None else entry.mode
        entry.user = user or entry.user
        entry.group = group or entry.group

    def command(self, do: str, undo: str = "", touches: tuple[str, ...] = ()) -> None:
        """Run a shell command; ``touches`` names the files it changes, which are kept first."""
        self.commands.setdefault(do, Command(do, undo))
        self.touched.update(dict.fromkeys(touches))

    def unit(self, name: str, verb: str, undo: str) -> None:
        """Run ``systemctl VERB NAME``, taken back by ``systemctl UNDO NAME``."""
        quoted = shlex.quote(name)
        self.command(f"systemctl {verb} -- {quoted}", f"systemctl {undo} -- {quoted}" if undo else "")

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to change."""
        return not (self.contents or self.modes or self.removals or self.purges or self.commands or self.reloads)

    def kept_paths(self) -> list[str]:
        """Paths whose present state has to be kept before the changes."""
        return sorted({*self.contents, *self.modes, *self.removals, *self.touched})
