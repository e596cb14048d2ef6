"""Whether a host is a container, which shares the kernel of another machine."""

from __future__ import annotations

from pyinfra.api import FactBase
from typing_extensions import override


class InContainer(FactBase[bool]):
    """True in a container: kernel-wide settings and the clock are then not the host's own to change."""

    @override
    @staticmethod
    def default() -> bool:
        return False

    @override
    def requires_command(self) -> str:
        return "systemd-detect-virt"

    @override
    def command(self) -> str:
        return "systemd-detect-virt --container --quiet && echo yes || echo no"

    @override
    def process(self, output: list[str]) -> bool:
        return output[0].strip() == "yes"
