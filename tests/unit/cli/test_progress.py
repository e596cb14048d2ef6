from __future__ import annotations

import io

from rich.console import Console

from groundwork.cli.progress import Board, show_progress
from groundwork.engine.events import (
    Event,
    HostFailed,
    HostPrepared,
    OperationFinished,
    OperationStarted,
    StageStarted,
)
from groundwork.engine.results import OperationResult, OperationStatus

EVENTS: list[Event] = [
    StageStarted(stage="execute", hosts=("app", "data")),
    HostPrepared(host="app", operations=2),
    OperationStarted(host="app", name="write"),
    OperationFinished(host="app", operation=OperationResult(name="write", status=OperationStatus.CHANGED)),
    OperationFinished(host="app", operation=OperationResult(name="keep", status=OperationStatus.UNCHANGED)),
    HostFailed(host="data", stage="connect", reason="refused\nmore"),
]


def test_plain_lines_when_not_a_terminal() -> None:
    stream = io.StringIO()
    with show_progress(stream=stream) as on_event:
        for event in EVENTS:
            on_event(event)
    lines = stream.getvalue().splitlines()
    assert "app: write (changed)" in lines
    assert "data: FAILED (connect): refused" in lines
    assert not any("keep" in line for line in lines)


def test_board_counts_per_host() -> None:
    board = Board()
    for event in EVENTS:
        board.add(event)
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(board.render())
    app, data = (line.split() for line in capture.get().splitlines()[1:3])
    assert app[:3] == ["app", "2/2", "1"]
    assert data[-1] == "refused"
