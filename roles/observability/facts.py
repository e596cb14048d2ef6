"""What the role asks a host."""

from __future__ import annotations

from pyinfra.api import FactBase
from typing_extensions import override


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
