"""A verification's result as text for people: a table of hosts and roles, and every failure."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from groundwork.engine.checks import Outcome, VerifyResult


def print_verification(result: VerifyResult, console: Console) -> None:
    """Print failures with host and reason, then the table, then one line of summary."""
    for problem in result.problems:
        console.print(Text(f"error: {problem}", style="red"))
    for check in result.failures:
        console.print(Text(f"{check.host}: {check.role}: {check.name}", style="bold red"))
        for line in check.reason.splitlines():
            console.print(Text(f"    {line}"))
    if result.checks:
        console.print(tabulate_verification(result))
    console.print(Text(summarise_verification(result), style="bold"))


def tabulate_verification(result: VerifyResult) -> Table:
    """A row per host, a column per role: passed, and failed or skipped where there are any."""
    hosts = list(dict.fromkeys(check.host for check in result.checks))
    roles = list(dict.fromkeys(check.role for check in result.checks))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("host")
    for role in roles:
        table.add_column(role)
    for host in hosts:
        table.add_row(host, *(_cell(result, host, role) for role in roles))
    return table


def summarise_verification(result: VerifyResult) -> str:
    """One line: passed, failed, skipped, seconds."""
    figures = ", ".join(f"{result.count(outcome)} {outcome}" for outcome in Outcome)
    stopped = ", stopped by the user" if result.interrupted else ""
    return f"checks: {figures}{stopped} in {result.seconds:.1f} s"


def _cell(result: VerifyResult, host: str, role: str) -> Text:
    passed, failed, skipped = (result.count(outcome, host, role) for outcome in Outcome)
    if not passed + failed + skipped:
        return Text("-", style="dim")
    parts = [f"{passed} passed"] if passed or not skipped else []
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{skipped} skipped"] if skipped else []
    return Text(", ".join(parts), style="red" if failed else "green" if passed else "dim")
