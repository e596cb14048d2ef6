"""What the role asks a host: its cards, its driver, and what of the declared layout is not in place."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

from roles.gpu.onhost import listing
from roles.gpu.onhost.listing import CardState, ProfileLine

SMI = "/usr/bin/nvidia-smi"
MPS = "/usr/bin/nvidia-cuda-mps-control"


@dataclass(frozen=True)
class Driver:
    """The driver and the cards of a host."""

    present: bool = False
    error: str = ""
    """What nvidia-smi says where it does not work."""
    module: str = ""
    """Version of the loaded kernel module; empty where it cannot be read (in a container)."""
    has_mps: bool = False
    cards: tuple[CardState, ...] = ()
    profiles: tuple[ProfileLine, ...] = ()
    proven: dict[str, Any] = field(default_factory=dict)
    """The layout that the host carries, as it was declared."""


class HostDriver(FactBase[Driver]):
    """Read-only commands of nvidia-smi, all in one; the lists need root."""

    default = Driver

    @override
    def command(self, proven: str) -> StringCommand:
        query = " ".join(listing.QUERY)
        return StringCommand(
            f"if test -x {SMI}; then export LC_ALL=C; echo '== cards'; {SMI} {query} 2>&1; echo '== profiles';",
            f"{SMI} mig -lgip 2>&1; echo '== placements'; {SMI} mig -lgipp 2>&1; echo '== module';",
            f"cat /sys/module/nvidia/version 2>/dev/null; echo '== mps'; ls {MPS} 2>/dev/null; echo '== proven';",
            "cat --", QuoteString(proven), "2>/dev/null; fi; true",
        )  # fmt: skip

    @override
    def process(self, output: list[str]) -> Driver:
        parts: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in output:
            if line.startswith("== "):
                lines = parts.setdefault(line.removeprefix("== ").strip(), [])
            else:
                lines.append(line)
        if "cards" not in parts:
            return Driver()
        cards = listing.parse_cards("\n".join(parts["cards"]))
        try:
            proven = json.loads("\n".join(parts.get("proven", [])) or "{}")
        except ValueError:
            proven = {}
        return Driver(
            present=True,
            error="" if cards else " ".join(parts["cards"]).strip() or "no card is listed",
            module="".join(parts.get("module", [])).strip(),
            has_mps=bool(parts.get("mps")),
            cards=tuple(cards),
            profiles=tuple(
                listing.parse_profiles("\n".join(parts.get("profiles", [])), "\n".join(parts.get("placements", [])))
            ),
            proven=proven if isinstance(proven, dict) else {},
        )


class Lags(FactBase[list[str] | None]):
    """What of a declared layout is not in place; None where the program is not on the host yet."""

    @override
    def command(self, package: str, library: str, document: str) -> StringCommand:
        encoded = base64.b64encode(document.encode()).decode()
        return StringCommand(
            "if test -e", QuoteString(f"{library}/{package}/__main__.py"), "; then echo", encoded,
            f"| base64 -d | PYTHONPATH={library} python3 -B -m {package} plan - 2>/dev/null; fi; true",
        )  # fmt: skip

    @override
    def process(self, output: list[str]) -> list[str] | None:
        try:
            found = json.loads(output[-1]) if output else None
        except ValueError:
            return None
        return [str(line) for line in found] if isinstance(found, list) else None
