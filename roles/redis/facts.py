"""What ``redis`` asks a host."""

from __future__ import annotations

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
