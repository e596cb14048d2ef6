"""The state of many units, with one call of systemctl."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from pyinfra.api import FactBase, QuoteString, StringCommand
from typing_extensions import override

_PROPERTIES = (
    "Id,Names,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,Result,"
    "ActiveEnterTimestamp,ExecMainStartTimestamp,StateChangeTimestamp"
)


@dataclass(frozen=True)
class UnitState:
    """One unit as the service manager sees it; times are seconds since 1970, 0 where it never happened.

    ``started`` is when the main process started (for a unit without one, when it became active) and
    ``settled`` when the state last changed, which a reload moves too.
    """

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enablement: str = ""
    needs_reload: bool = False
    result: str = ""
    started: float = 0.0
    settled: float = 0.0

    @property
    def is_active(self) -> bool:
        """Running, or on its way there by itself."""
        return self.active in ("active", "reloading", "activating")

    @property
    def is_masked(self) -> bool:
        """Somebody forbade it to start."""
        return self.load == "masked" or self.enablement in ("masked", "masked-runtime")

    @property
    def can_be_enabled(self) -> bool:
        """It has an [Install] section and was not made by a generator, so that enabling means something."""
        return self.enablement not in ("static", "generated", "transient", "indirect")

    @property
    def is_enabled(self) -> bool:
        """Starts with the host, or needs no enabling (static, generated, ...)."""
        return self.enablement not in ("disabled", "masked", "masked-runtime", "bad", "")


def parse_timestamp(text: str) -> float:
    """Seconds since 1970 from ``Sat 2026-11-21 02:12:32.123456 UTC``; 0 for an empty or unset time."""
    if not text or text == "n/a":
        return 0.0
    _, moment = text.split(" ", 1)
    form = "%Y-%m-%d %H:%M:%S.%f UTC" if "." in moment else "%Y-%m-%d %H:%M:%S UTC"
    return datetime.strptime(moment, form).replace(tzinfo=UTC).timestamp()


def parse_units(lines: Iterable[str]) -> dict[str, UnitState]:
    """Unit states by every name a unit has, from the paragraphs ``systemctl show`` prints."""
    units: dict[str, UnitState] = {}
    fields: dict[str, str] = {}
    for line in [*lines, ""]:
        if line.strip():
            key, _, value = line.partition("=")
            fields[key] = value
        elif fields:
            state = UnitState(
                load=fields.get("LoadState", "not-found"),
                active=fields.get("ActiveState", "inactive"),
                sub=fields.get("SubState", "dead"),
                enablement=fields.get("UnitFileState", ""),
                needs_reload=fields.get("NeedDaemonReload") == "yes",
                result=fields.get("Result", ""),
                started=parse_timestamp(fields.get("ExecMainStartTimestamp", ""))
                or parse_timestamp(fields.get("ActiveEnterTimestamp", "")),
                settled=parse_timestamp(fields.get("StateChangeTimestamp", "")),
            )
            units |= dict.fromkeys({fields.get("Id", ""), *fields.get("Names", "").split()} - {""}, state)
            fields = {}
    return units


class UnitStates(FactBase[dict[str, UnitState]]):
    """State of each named unit (with its suffix); a unit the host does not have is ``not-found``."""

    default = dict

    @override
    def requires_command(self, units: Iterable[str]) -> str:
        return "systemctl"

    @override
    def command(self, units: Iterable[str]) -> StringCommand:
        names = [QuoteString(unit) for unit in units]
        return StringCommand(
            f"LC_ALL=C systemctl show --timestamp=us+utc --property={_PROPERTIES} --",
            *names,
            "2>/dev/null || true",
        )

    @override
    def process(self, output: list[str]) -> dict[str, UnitState]:
        return parse_units(output)
