"""What ``consul`` asks a host."""

from __future__ import annotations

import re

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

UNKNOWN = "unknown"


class ConsulVersion(FactBase[tuple[int, ...]]):
    """The installed release as numbers, ``(1, 20, 1)``; empty where there is none."""

    default = tuple

    @override
    def command(self) -> str:
        return "/usr/bin/consul version 2>/dev/null || true"

    @override
    def process(self, output: list[str]) -> tuple[int, ...]:
        match = re.match(r"Consul v([0-9]+)\.([0-9]+)\.([0-9]+)", output[0])
        return tuple(int(number) for number in match.groups()) if match else ()


class AccessDifferences(FactBase[list[str]]):
    """How policies and tokens differ from a file, a line for each that does; ``unknown`` where nobody can tell."""

    default = list

    @override
    def command(self, helper: str, path: str) -> StringCommand:
        return StringCommand(QuoteString(helper), "differences", QuoteString(path), f"2>/dev/null || echo {UNKNOWN}")

    @override
    def process(self, output: list[str]) -> list[str]:
        return output
