"""A report on drift as text for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from groundwork.drift.items import Drift, DriftReport, Source

SHOWN_LINES = 6
"""Lines shown of a difference or a reason; ``--json`` has them all."""


def print_drift(report: DriftReport, console: Console) -> None:
    """Print every drift by host, what has ended, a table of hosts and a line of summary."""
    for problem in report.problems:
        console.print(Text(f"error: {problem}", style="red"))
    for host in dict.fromkeys(drift.host for drift in report.drifts):
        console.print(Text(host, style="bold"))
        for drift in report.drifts:
            if drift.host == host:
                _print_one(drift, console)
    for drift in report.ended:
        console.print(Text(f"over: {drift.host}: {drift.category} {drift.subject}", style="green"))
    console.print(_tabulate(report))
    new = [host for host, time in report.baselines.items() if time == report.time]
    if new:
        console.print(f"baseline taken of {', '.join(new)}: from now on, what changes there besides applies is shown")
    console.print(Text(summarise_drift(report), style="bold"))


def summarise_drift(report: DriftReport) -> str:
    """One line: how many drifts by source, how many are over, seconds."""
    figures = ", ".join(f"{_count(report, source)} by {source}" for source in report.sources)
    return f"drift: {figures}, {len(report.ended)} over, in {report.seconds:.1f} s"


def _print_one(drift: Drift, console: Console) -> None:
    since = "" if not drift.first_seen else f" (since {drift.first_seen[:16].replace('T', ' ')})"
    console.print(Text(f"  {drift.source}: {drift.category} {drift.subject}{since}", style="yellow"))
    if drift.source is Source.BASELINE:
        console.print(Text(f"      was {drift.was}, is {drift.now}"))
    else:
        for line in drift.now.splitlines()[:SHOWN_LINES]:
            console.print(Text(f"      {line}"))
    for act in drift.by:
        console.print(Text(f"      by {act}", style="cyan"))


def _tabulate(report: DriftReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("host")
    for source in report.sources:
        table.add_column(str(source), justify="right")
    table.add_column("baseline of")
    for host in report.hosts:
        figures = [str(_count(report, source, host)) for source in report.sources]
        table.add_row(host, *figures, report.baselines.get(host, "-")[:16].replace("T", " "))
    return table


def _count(report: DriftReport, source: Source, host: str | None = None) -> int:
    return sum(1 for drift in report.drifts if drift.source is source and host in (None, drift.host))
