"""Versions of the named Debian packages that are completely installed."""

from __future__ import annotations

from collections.abc import Iterable

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override


class InstalledPackages(FactBase[dict[str, str]]):
    """Package name to version, for those of ``packages`` whose state is installed.

    Unlike pyinfra's ``DebPackages`` it leaves out a package that was interrupted half-way (unpacked, not
    configured), and it asks for the named ones only.
    """

    default = dict

    @override
    def requires_command(self, packages: Iterable[str]) -> str:
        return "dpkg-query"

    @override
    def command(self, packages: Iterable[str]) -> StringCommand:
        names = [QuoteString(name) for name in packages]
        # It exits 1 when one of them is unknown, and still lists the others.
        return StringCommand(
            "dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\\n' --",
            *names,
            "2>/dev/null || true",
        )

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        rows = (line.split() for line in output)
        return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed"}
