"""How the lab's results look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from groundwork.lab.handover import SiteOutcome
from groundwork.lab.hosts import HostStatus
from groundwork.lab.lifecycle import BootedLab
from groundwork.lab.state import LabSpec


def render_up(lab: BootedLab, seconds: dict[str, float], outcome: SiteOutcome | None) -> None:
    """Print the table that ends ``lab up``: hosts, figures, timings, addresses, next commands."""
    console = Console(highlight=False, soft_wrap=True)
    spec = lab.spec
    table = Table(title=f"lab {spec.name}: {spec.platform} on Debian {spec.release}", title_justify="left")
    for heading in ("host", "address", "groups", "state"):
        table.add_column(heading)
    if outcome is not None:
        table.add_column("changed", justify="right")
    for host in lab.hosts:
        row = [host.name, host.address, " ".join(host.groups), f"{host.state} ({host.action})"]
        if outcome is not None:
            row.append(str(outcome.changed.get(host.name, 0)))
        table.add_row(*row)
    console.print(table)
    if outcome is not None:
        console.print(f"checks: {outcome.passed} passed, {outcome.failed} failed")
        for problem in outcome.problems:
            # The whole story of a failure was told while it happened, and is in --json.
            console.print(f"problem: {problem.splitlines()[0]}", markup=False)
        for url in outcome.urls:
            console.print(f"open: {url}", markup=False)
    timings = ", ".join(f"{phase} {value:.1f} s" for phase, value in seconds.items())
    console.print(f"took {sum(seconds.values()):.1f} s: {timings}")
    for command in next_commands(spec):
        console.print(f"next: {command}", markup=False)


def next_commands(spec: LabSpec) -> list[str]:
    """Return what one would type next; the lab's name is only there where it is not the default."""
    name = "" if spec.name == "default" else f" --name {spec.name}"
    variable = "" if spec.name == "default" else f"GROUNDWORK_LAB={spec.name} "
    return [
        f"./gw lab ssh{name} {spec.hosts[0].name}",
        f"{variable}./gw plan lab",
        f"{variable}./gw verify lab",
        f"./gw lab down{name}",
    ]


def render_status(spec: LabSpec, hosts: Sequence[HostStatus]) -> None:
    """Print a lab's hosts and their states."""
    table = Table(title=f"lab {spec.name}: {spec.platform} on Debian {spec.release}", title_justify="left")
    for heading in ("host", "address", "groups", "state"):
        table.add_column(heading)
    for status in hosts:
        table.add_row(status.host.name, status.host.address, " ".join(status.host.groups), status.state)
    Console(highlight=False).print(table)
