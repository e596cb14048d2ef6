"""Where the installed version of a package can have come from, as apt sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

_VERSION = re.compile(r"^ (?:\*\*\*|   ) (?P<version>\S+) -?[0-9]+$")
_SOURCE = re.compile(r"^ +-?[0-9]+ (?P<uri>\S+)")
STATUS = "/var/lib/dpkg/status"


@dataclass(frozen=True)
class PackageOrigin:
    """The installed version (empty: none) and the URIs of the sources that offer that very version."""

    version: str = ""
    uris: tuple[str, ...] = ()

    def is_foreign(self, uri: str) -> bool:
        """Whether it came from another source than ``uri``: others offer it, that one does not.

        A version that nobody offers any more is taken for one that the vendor has withdrawn.
        """
        return bool(self.uris) and uri.rstrip("/") not in {one.rstrip("/") for one in self.uris}


class PackageOrigins(FactBase[dict[str, PackageOrigin]]):
    """``PackageOrigin`` of each package that is installed."""

    default = dict

    @override
    def requires_command(self, packages: Iterable[str]) -> str:
        return "apt-cache"

    @override
    def command(self, packages: Iterable[str]) -> StringCommand:
        return StringCommand("LC_ALL=C apt-cache policy", *[QuoteString(name) for name in packages], "2>/dev/null")

    @override
    def process(self, output: list[str]) -> dict[str, PackageOrigin]:
        found: dict[str, PackageOrigin] = {}
        name = installed = current = ""
        for line in output:
            if line and not line.startswith(" "):
                name, installed, current = line.rstrip(":"), "", ""
            elif line.startswith("  Installed: "):
                installed = line.removeprefix("  Installed: ")
                if installed != "(none)":
                    found[name] = PackageOrigin(installed)
            elif match := _VERSION.match(line):
                current = match["version"]
            elif (match := _SOURCE.match(line)) and current == installed and match["uri"] != STATUS and name in found:
                found[name] = PackageOrigin(installed, (*found[name].uris, match["uri"]))
        return found
