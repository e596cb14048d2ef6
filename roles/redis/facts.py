"""What ``redis`` asks a host."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class HostMemory(FactBase[int]):
    """The host's memory in bytes; 0 where the kernel does not say."""

    @override
    @staticmethod
    def default() -> int:
        return 0

    @override
    def command(self) -> str:
        return "grep -s '^MemTotal:' /proc/meminfo || true"

    @override
    def process(self, output: list[str]) -> int:
        # "MemTotal:       24683840 kB", where kB means KiB (proc_meminfo(5)).
        return int(output[0].split()[1]) * 1024


class PasswordHash(FactBase[str]):
    """SHA-256 of a file's content in hexadecimal, an empty text where there is no file. Never the content."""

    default = str

    @override
    def command(self, path: str) -> StringCommand:
        quoted = QuoteString(path)
        return StringCommand("test ! -s", quoted, "|| sha256sum <", quoted)

    @override
    def process(self, output: list[str]) -> str:
        return output[0].split()[0]


class DueSteps(FactBase[list[str] | None]):
    """What the helper would do among the servers of a service, a line each; None where it cannot say yet."""

    @override
    @staticmethod
    def default() -> list[str] | None:
        return None

    @override
    def command(self, command: Sequence[str], verb: str) -> StringCommand:
        words = [QuoteString(word) for word in [*command, verb]]
        return StringCommand(*words, "2>/dev/null || true")

    @override
    def process(self, output: list[str]) -> list[str] | None:
        try:
            return [str(line) for line in json.loads(output[-1])]
        except ValueError:
            return None


class ChangedSettings(FactBase[list[str]]):
    """Settings by which a server runs other than its file says, a line each; none where it does not run."""

    default = list

    @override
    def command(self, helper: str, configuration: str, socket: str, password: str) -> StringCommand:
        words = [QuoteString(word) for word in (configuration, socket, password)]
        return StringCommand(QuoteString(helper), "differences", *words, "2>/dev/null || true")

    @override
    def process(self, output: list[str]) -> list[str]:
        return output


class SlotCount(FactBase[int]):
    """How many slots of a cluster a local server holds; 0 where it does not run or is in none."""

    @override
    @staticmethod
    def default() -> int:
        return 0

    @override
    def command(self, instance: str, password: str) -> StringCommand:
        return StringCommand(
            "{ printf 'AUTH _operator %s\\n' \"$(cat", QuoteString(password), ")\"; echo 'CLUSTER NODES'; }",
            "2>/dev/null | redis-cli -s", QuoteString(f"/run/redis-{instance}/redis.sock"),
            "2>/dev/null | grep myself || true",
        )  # fmt: skip

    @override
    def process(self, output: list[str]) -> int:
        count = 0
        for word in output[0].split()[8:] if output else []:
            first, _, last = word.partition("-")
            count += int(last or first) - int(first) + 1 if first.isdecimal() else 0
        return count
