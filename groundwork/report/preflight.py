"""A preflight's result as text for people: what failed and what to do, then a table of hosts."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from groundwork.preflight.findings import PreflightResult, Severity, Status

STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


def print_preflight(result: PreflightResult, console: Console, everything: bool = False) -> None:
    """Print what failed with its remedy (with ``everything``, each check), the table, and a line of summary."""
    for problem in result.problems:
        console.print(Text(f"error: {problem}", style="red"))
    for finding in result.findings:
        if finding.status is Status.FAILED:
            console.print(Text(f"{finding.severity}: {finding.host}: {finding.id}", style=STYLES[finding.severity]))
            console.print(Text(f"    {finding.evidence}"))
            console.print(Text(f"    do: {finding.remedy}"))
        elif everything:
            console.print(Text(f"{finding.status}: {finding.host}: {finding.id}: {finding.evidence}", style="dim"))
    console.print(tabulate_preflight(result))
    console.print(Text(summarise_preflight(result), style="bold"))


def tabulate_preflight(result: PreflightResult) -> Table:
    """A row per host, and one for the site: passed, warnings, errors, skipped."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("host")
    for title in ("passed", "warnings", "errors", "skipped"):
        table.add_column(title, justify="right")
    for host in dict.fromkeys(finding.host for finding in result.findings):
        bad = [one.severity for one in result.failed() if one.host == host]
        warnings, errors = bad.count(Severity.WARNING), bad.count(Severity.ERROR)
        style = "red" if errors else "yellow" if warnings else "green"
        figures = (result.count(Status.PASSED, host), warnings, errors, result.count(Status.SKIPPED, host))
        table.add_row(host, *(Text(str(figure), style=style) for figure in figures))
    return table


def summarise_preflight(result: PreflightResult) -> str:
    """One line: how many checks ended how, and how long it took."""
    errors, warnings = len(result.failed(Severity.ERROR)), len(result.failed(Severity.WARNING))
    where = "" if result.live else " (no host was contacted)"
    passed, skipped = result.count(Status.PASSED), result.count(Status.SKIPPED)
    return (
        f"checks: {passed} passed, {warnings} warnings, {errors} errors, {skipped} skipped{where} in {result.seconds} s"
    )
