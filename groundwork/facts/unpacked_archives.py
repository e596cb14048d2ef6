"""Which versions of a release archive are unpacked on a host, and which is in use."""

from __future__ import annotations

from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class Unpacked(TypedDict):
    """Names of the folders, and the one that ``current`` points at (empty: none)."""

    folders: list[str]
    current: str


class UnpackedArchives(FactBase[Unpacked]):
    """What is in the folder of one archive; a folder that is there is complete."""

    @override
    @staticmethod
    def default() -> Unpacked:
        return {"folders": [], "current": ""}

    @override
    def command(self, folder: str) -> StringCommand:
        quoted = QuoteString(folder)
        return StringCommand(
            "if test -d", quoted, "; then readlink --", QuoteString(f"{folder}/current"), "|| echo;",
            "find", quoted, "-mindepth 1 -maxdepth 1 -type d ! -name '.partial-*' -printf '%f\\n'; fi",
        )  # fmt: skip

    @override
    def process(self, output: list[str]) -> Unpacked:
        return {"folders": sorted(output[1:]), "current": output[0].rpartition("/")[2]}
