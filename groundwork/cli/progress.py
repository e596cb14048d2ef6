"""Live display of a run on stderr: a line per host in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from groundwork.engine.events import (
    Event,
    HostConnected,
    HostFailed,
    HostPrepared,
    LogLine,
    OperationFinished,
    OperationStarted,
    StageStarted,
)
from groundwork.engine.results import OperationStatus

if TYPE_CHECKING:
    from rich.table import Table

QUIET = (OperationStatus.UNCHANGED, OperationStatus.NOT_RUN)


@contextmanager
def show_progress(*, plain: bool = False, stream: TextIO | None = None) -> Iterator[Callable[[Event], None]]:
    """Yield a function that shows events as they come.

    Args:
        plain: lines even in a terminal.
        stream: where to; stderr by default.
    """
    target = stream or sys.stderr
    if plain or not target.isatty():
        yield lambda event: print_event(event, target)
        return
    from rich.console import Console
    from rich.live import Live

    board = Board()
    console = Console(file=target, highlight=False)
    with Live(console=console, get_renderable=board.render, refresh_per_second=8, transient=True):
        yield board.add


def print_event(event: Event, stream: TextIO) -> None:
    """Write one event as a line; what changes nothing is left out."""
    match event:
        case StageStarted():
            line = f"{event.stage}: {', '.join(event.hosts)}"
        case HostConnected():
            line = f"{event.host}: connected"
        case HostPrepared():
            line = f"{event.host}: {event.operations} operations"
        case HostFailed():
            line = f"{event.host}: FAILED ({event.stage}): {_first_line(event.reason)}"
        case OperationFinished() if event.operation.status not in QUIET:
            line = f"{event.host}: {event.operation.name} ({event.operation.status.replace('_', ' ')})"
        case LogLine():
            line = f"{event.host}: {event.message}" if event.host else event.message
        case _:
            return
    print(line, file=stream, flush=True)


@dataclass
class Row:
    """What the display shows of one host."""

    total: int = 0
    done: int = 0
    changed: int = 0
    doing: str = "waiting"
    failed: bool = False
    started: float = field(default_factory=time.monotonic)


class Board:
    """The live table: host, operations done, changed, elapsed, current operation."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.stage = ""
        self.started = time.monotonic()

    def add(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, StageStarted):
            self.stage = event.stage
            for host in event.hosts:
                self.rows.setdefault(host, Row()).doing = event.stage
            return
        host = getattr(event, "host", "")
        if not host:
            return
        row = self.rows.setdefault(host, Row())
        match event:
            case HostConnected():
                row.doing = "connected"
            case HostPrepared():
                row.total, row.doing = event.operations, "ready"
            case HostFailed():
                row.failed, row.doing = True, _first_line(event.reason)
            case OperationStarted():
                row.doing = event.name
            case OperationFinished():
                row.done += event.operation.status is not OperationStatus.NOT_RUN
                row.changed += event.operation.status in (
                    OperationStatus.CHANGED,
                    OperationStatus.WOULD_CHANGE,
                )
            case _:
                pass

    def render(self) -> Table:
        """The table as it stands."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
        for title, justify in (("host", "left"), ("done", "right"), ("changed", "right")):
            table.add_column(title, justify=justify)  # type: ignore[arg-type]
        table.add_column(f"{self.stage} {time.monotonic() - self.started:.0f} s", no_wrap=True)
        for name, row in self.rows.items():
            style = "red" if row.failed else ""
            done = f"{row.done}/{row.total}" if row.total else "-"
            table.add_row(name, done, str(row.changed), Text(row.doing, style=style, overflow="ellipsis"))
        return table


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
