"""The host's Python, and which releases of Phoenix it has."""

from __future__ import annotations

import re
from typing import TypedDict

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

_DEBIAN_PYTHON = {"12": "3.11", "13": "3.13"}


class HostPython(TypedDict):
    """Minor version of the Python that the host has, or that its Debian would bring, and the machine."""

    python: str
    machine: str


class PythonTarget(FactBase[HostPython]):
    """What wheels for the host must fit."""

    @override
    def command(self) -> str:
        return (
            "echo python $(/usr/bin/python3 --version 2>/dev/null); echo machine $(uname -m); "
            "echo debian $(. /etc/os-release 2>/dev/null && echo $VERSION_ID)"
        )

    @override
    def process(self, output: list[str]) -> HostPython:
        found = dict(line.partition(" ")[::2] for line in output)
        python = re.search(r"(\d+\.\d+)", found.get("python", ""))
        debian = _DEBIAN_PYTHON.get(found.get("debian", "").strip(), "3.13")
        return {"python": python[1] if python else debian, "machine": found.get("machine", "").strip() or "x86_64"}


class PhoenixReleases(FactBase[list[str]]):
    """Names of the complete releases in a folder."""

    @override
    @staticmethod
    def default() -> list[str]:
        return []

    @override
    def command(self, folder: str) -> StringCommand:
        quoted = QuoteString(folder)
        return StringCommand(
            "if test -d", quoted, "; then find", quoted,
            "-mindepth 2 -maxdepth 2 -name .complete -printf '%h\\n'; fi",
        )  # fmt: skip

    @override
    def process(self, output: list[str]) -> list[str]:
        return sorted(line.rpartition("/")[2] for line in output)
