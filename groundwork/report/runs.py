"""A plan's or apply's result as text for people: diffs, failures, a table of hosts, how to retry."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from groundwork.engine.results import HostResult, Mode, OperationResult, OperationStatus, RunResult

MARKS = {
    OperationStatus.CHANGED: ("changed", "yellow"),
    OperationStatus.WOULD_CHANGE: ("would change", "yellow"),
    OperationStatus.MAY_CHANGE: ("may change", "cyan"),
    OperationStatus.FAILED: ("failed", "bold red"),
    OperationStatus.IGNORED: ("failed, ignored", "magenta"),
}
LONGEST_DIFF = 200


def print_run(result: RunResult, console: Console) -> None:
    """Print a whole result: per host what changed (or would), then failures, then the table."""
    for problem in result.problems:
        console.print(Text(f"error: {problem}", style="red"))
    for host in result.hosts:
        _print_operations(host, console)
    if result.hosts:
        console.print(tabulate_run(result))
    for host in result.failed_hosts:
        console.print(Text(f"{host.name} failed ({host.stage}): {host.reason}", style="red"))
    console.print(Text(summarise_run(result), style="bold"))
    if result.retry:
        command = f"groundwork {result.mode} {result.environment} {result.retry}"
        console.print(f"retry the failed hosts with: {command}")


def tabulate_run(result: RunResult) -> Table:
    """A row per host: operations, changed, unchanged, failed, state."""
    changed = "would change" if result.mode is Mode.PLAN else "changed"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("host")
    for title in ("operations", changed, "unchanged", "failed", "seconds"):
        table.add_column(title, justify="right")
    table.add_column("state")
    for host in result.hosts:
        table.add_row(
            host.name,
            str(len(host.operations)),
            str(host.changed),
            str(host.count(OperationStatus.UNCHANGED)),
            str(host.count(OperationStatus.FAILED)),
            f"{host.seconds:.1f}",
            _describe_state(host),
        )
    return table


def _describe_state(host: HostResult) -> Text:
    if host.failed:
        return Text(f"failed ({host.stage})", style="red")
    if host.count(OperationStatus.NOT_RUN):
        return Text("unfinished", style="yellow")
    return Text("good", style="green")


def summarise_run(result: RunResult) -> str:
    """One line: hosts, changes, failures, seconds."""
    verb = "would change" if result.mode is Mode.PLAN else "changed"
    parts = [f"{len(result.hosts)} hosts", f"{result.changed} operations {verb}"]
    if result.failed_hosts:
        parts.append(f"{len(result.failed_hosts)} hosts failed")
    if result.interrupted:
        parts.append("stopped by the user")
    return f"{', '.join(parts)} in {result.seconds:.1f} s"


def _print_operations(host: HostResult, console: Console) -> None:
    shown = [operation for operation in host.operations if operation.status in MARKS]
    if not shown:
        return
    console.print(Text(host.name, style="bold"))
    for operation in shown:
        word, style = MARKS[operation.status]
        console.print(Text(f"  {operation.name} ").append(f"({word})", style=style))
        _print_details(operation, console)


def _print_details(operation: OperationResult, console: Console) -> None:
    if operation.status in (OperationStatus.FAILED, OperationStatus.IGNORED):
        for line in operation.error.splitlines():
            console.print(Text(f"      {line}", style="red"))
        return
    lines = operation.diff or tuple(f"$ {command}" for command in operation.commands)
    for line in lines[:LONGEST_DIFF]:
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim" if line[:1] in "#$" else "")
        console.print(Text(f"      {line}", style=style))
    if len(lines) > LONGEST_DIFF:
        console.print(f"      ... {len(lines) - LONGEST_DIFF} more lines (--json has them all)")
