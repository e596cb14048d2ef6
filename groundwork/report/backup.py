"""Reports on backups and restores as text for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from groundwork.backup.reports import BackupReport


def show_bytes(size: int) -> str:
    """A size with the unit that fits."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def show_age(seconds: float) -> str:
    """An age in the unit that fits."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def print_backups(report: BackupReport, console: Console) -> None:
    """Print what was done or found, what is left out, and a line of summary."""
    for problem in report.problems:
        console.print(Text(f"error: {problem['key']}: {problem['message']}", style="red"))
    for place, reason in report.left_out.items():
        console.print(Text(f"left out: {place}: {reason}", style="yellow"))
    if report.verb == "now":
        _print_runs(report, console)
    elif report.verb == "list":
        _print_sets(report, console)
    elif report.verb == "repair":
        for place, moved in report.repaired.items():
            console.print(f"{place}: {len(moved)} damaged files taken out {', '.join(moved)}")
    else:
        _print_checks(report, console)


def _print_runs(report: BackupReport, console: Console) -> None:
    table = Table("item", "host", "repository", "set", "size", "files", "s", box=None, pad_edge=False)
    for run in report.runs:
        for place, one in run.repositories.items():
            size = show_bytes(one["bytes"]) if "bytes" in one else "failed"
            files, name = str(one.get("objects", "")), run.set if "error" not in one else "-"
            table.add_row(run.item, run.host, place, name, size, files, str(one.get("seconds", "")))
    console.print(table)
    for run in report.runs:
        if run.skipped:
            console.print(Text(f"{run.item} on {run.host}: nothing to save: {run.skipped}", style="yellow"))
        errors = [run.error, *(f"{place}: {one['error']}" for place, one in run.repositories.items() if "error" in one)]
        for error in filter(None, errors):
            console.print(Text(f"failed: {run.item} on {run.host}: {error}", style="red"))
    failed = sum(not run.good for run in report.runs)
    console.print(Text(f"backup: {len(report.runs) - failed} made, {failed} failed, {report.seconds} s", style="bold"))


def _print_sets(report: BackupReport, console: Console) -> None:
    table = Table("item", "host", "repository", "set", "age", "size", "files", box=None, pad_edge=False)
    for one in sorted(report.sets, key=lambda kept: (kept.item, kept.repository, kept.set)):
        size = show_bytes(one.bytes)
        table.add_row(one.item, one.host, one.repository, one.set, show_age(one.age), size, str(one.objects))
    console.print(table)
    console.print(Text(f"backup: {len(report.sets)} sets", style="bold"))


def _print_checks(report: BackupReport, console: Console) -> None:
    table = Table("item", "repository", "sets", "read", "files", "newest", "s", box=None, pad_edge=False)
    for one in report.checks:
        ages = ", ".join(f"{host} {show_age(float(newest['age']))}" for host, newest in one.newest.items())
        size = show_bytes(one.bytes)
        table.add_row(one.item, one.repository, str(one.sets), size, str(one.objects), ages or "-", str(one.seconds))
    console.print(table)
    for one in report.checks:
        for finding in one.findings:
            console.print(Text(f"found: {one.item} in {one.repository}: {finding}", style="red"))
    count = sum(len(one.findings) for one in report.checks)
    console.print(Text(f"backup: {count} findings, {report.seconds} s", style="bold"))
