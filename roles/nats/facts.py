"""What ``nats`` asks a host, through the helper that it installs there."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

UNKNOWN = "unknown"


class LoadTime(FactBase[float]):
    """When the server with this monitoring port last read its configuration (seconds since 1970).

    0 where the server does not answer or the helper is not there.
    """

    @override
    @staticmethod
    def default() -> float:
        return 0.0

    @override
    def command(self, helper: str, port: int) -> StringCommand:
        return StringCommand(QuoteString(helper), f"loaded {port} 2>/dev/null || true")

    @override
    def process(self, output: list[str]) -> float:
        return float(output[0])


class StreamDifferences(FactBase[list[str]]):
    """How JetStream's streams differ from a file, a line for each that does; ``unknown`` where nobody can tell."""

    default = list

    @override
    def command(self, helper: str, path: str) -> StringCommand:
        return StringCommand(QuoteString(helper), "streams", QuoteString(path), f"2>/dev/null || echo {UNKNOWN}")

    @override
    def process(self, output: list[str]) -> list[str]:
        return output


class DebianVersion(FactBase[int]):
    """Number of the Debian release; 0 where it does not say (testing)."""

    @override
    @staticmethod
    def default() -> int:
        return 0

    @override
    def command(self) -> str:
        return '. /etc/os-release && echo "${VERSION_ID:-0}"'

    @override
    def process(self, output: list[str]) -> int:
        return int(output[0].partition(".")[0])
