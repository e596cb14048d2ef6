"""What is at a path of a host: content digest, mode and owner in one command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class PlacedState(TypedDict):
    """``kind`` is ``file``, ``link`` or ``other``; the rest is set for files only."""

    kind: str
    user: str
    group: str
    mode: int
    digest: str


def _placed(kind: str, user: str = "", group: str = "", mode: int = 0, digest: str = "") -> PlacedState:
    return {"kind": kind, "user": user, "group": group, "mode": mode, "digest": digest}


class PlacedFile(FactBase[PlacedState | None]):
    """State of one path, or None where nothing is there (also when its directory is missing).

    ``mode`` is the permission bits as a number (0o640), ``digest`` the SHA-256 of the content in hexadecimal,
    empty where the file cannot be read.
    """

    @override
    def command(self, path: str) -> StringCommand:
        quoted = QuoteString(path)
        return StringCommand(
            "if test -L", quoted, "; then echo link;",
            "elif test -f", quoted, "; then stat -c '%U %G %a' --", quoted,
            "&& { sha256sum <", quoted, "2>/dev/null || true; };",
            "elif test -e", quoted, "; then echo other; fi",
        )  # fmt: skip

    @override
    def process(self, output: list[str]) -> PlacedState | None:
        if output[0] in ("link", "other"):
            return _placed(output[0])
        user, group, mode = output[0].split()
        digest = output[1].split()[0] if len(output) > 1 else ""
        return _placed("file", user, group, int(mode, 8), digest)


class ChangeTimes(FactBase[dict[str, float]]):
    """When each existing path last changed (status change time, seconds since 1970); a link counts itself.

    The status change time moves when a prepared file is renamed into place; the modification time does not.
    """

    default = dict

    @override
    def command(self, paths: Iterable[str]) -> StringCommand:
        quoted = [QuoteString(path) for path in paths]
        return StringCommand("LC_ALL=C stat -c '%.9Z %n' --", *quoted, "2>/dev/null || true")

    @override
    def process(self, output: list[str]) -> dict[str, float]:
        pairs = (line.split(" ", 1) for line in output if " " in line)
        return {path: float(time) for time, path in pairs}
