"""Lines of journals as values: read from journalctl's JSON, merged by time, safe to print."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

# C0 and C1 controls, tab aside: what a line says must not move the cursor or change the terminal.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Line:
    """One line of one host's journal."""

    time: float
    """Seconds since 1970, by the host's own clock."""
    host: str
    unit: str
    """Its unit, else the name it goes by; systemd's own lines have the unit that they are about."""
    pid: str
    priority: int
    """Of syslog: 0 emergency to 7 debug."""
    message: str
    trace: str
    """Identifier of its trace, where the line says one."""
    boot: str
    monotonic: int

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for ``--json``."""
        values = asdict(self)
        del values["boot"], values["monotonic"]
        return {**values, "time": format_time(self.time)}

    def __str__(self) -> str:
        """The line as it is printed; what could act on a terminal is shown as an escape."""
        process = f"[{self.pid}]" if self.pid else ""
        text = _CONTROLS.sub(lambda match: repr(match[0])[1:-1], self.message)
        return f"{format_time(self.time)} {self.host} {self.unit}{process}: {text}"


def read_line(host: str, entry: Mapping[str, Any]) -> Line:
    """Make a line of an entry of ``journalctl -o json`` (systemd.io, "Journal Export Formats")."""
    message = _read_text(entry.get("MESSAGE"))
    names = ("UNIT", "_SYSTEMD_UNIT") if entry.get("_PID") == "1" else ("_SYSTEMD_UNIT", "UNIT")
    unit = next((text for name in (*names, "SYSLOG_IDENTIFIER", "_COMM") if (text := _read_text(entry.get(name)))), "-")
    priority = _read_text(entry.get("PRIORITY"))
    return Line(
        time=int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
        host=host,
        unit=_CONTROLS.sub("?", unit),
        pid=_read_text(entry.get("_PID")),
        priority=int(priority) if priority.isdigit() else 6,
        message=message,
        trace=_read_text(entry.get("TRACE_ID")) or _find_trace(message),
        boot=_read_text(entry.get("_BOOT_ID")),
        monotonic=int(entry.get("__MONOTONIC_TIMESTAMP") or 0),
    )


def drop_repeated(queries: Iterable[Iterable[Line]]) -> list[Line]:
    """Return one host's lines without those that its store has again, in the order in which they were stored.

    A host whose connection broke sends again what was not acknowledged. Where time goes back, such a part begins, and
    of each of its lines only those are new that there are more of than before: lines that are alike to the microsecond
    within one part are different ones. What several queries found counts once, in the same way.
    """
    kept: Counter[Line] = Counter()
    result: list[Line] = []
    for lines in queries:
        part: Counter[Line] = Counter()
        before: Line | None = None
        for line in lines:
            if before and line.boot == before.boot and line.monotonic < before.monotonic:
                part.clear()
            part[line] += 1
            if part[line] > kept[line]:
                kept[line] += 1
                result.append(line)
            before = line
    return result


def merge_lines(hosts: Iterable[Iterable[Line]], most: int) -> list[Line]:
    """Return the newest lines of all hosts, by time; those of one host and moment stay in their order."""
    ordered = sorted((line for lines in hosts for line in lines), key=lambda one: one.time)
    return ordered[-most:]


def format_time(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_text(value: Any) -> str:
    """A field's text; a field that is not UTF-8 comes as numbers, one that occurs twice as a list of both."""
    if isinstance(value, list):
        if all(isinstance(each, int) for each in value):
            return bytes(value).decode(errors="replace")
        return _read_text(value[0])
    return value if isinstance(value, str) else ""


def _find_trace(message: str) -> str:
    if not message.startswith("{"):
        return ""
    try:
        found = json.loads(message).get("trace_id")
    except (ValueError, AttributeError):
        return ""
    return found if isinstance(found, str) else ""
