"""``groundwork report``: an environment on one HTML page."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, print_json, report_errors

if TYPE_CHECKING:
    from groundwork.site import Site


def report(
    environment: options.Environment,
    target: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Where to write; by default report-ENV.html here.")
    ] = None,
    documents: Annotated[
        list[Path] | None,
        typer.Option("--document", metavar="FILE", help="What verify, harden --check or drift printed with --json."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Contact nothing: only what lies on this machine.")
    ] = False,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Write one page: fleet, objectives, alerts, certificates, hardening, drift, verification, GPUs, backups.

    It is made of the reports on this machine and of what Prometheus answers; what has no data says so and why.
    Exit code: 0 it is written, 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        choose_lab(lab)
        from groundwork.engine.api import name_environment
        from groundwork.report.gathering import Sources, make_overview
        from groundwork.report.kept import find_kept, list_passes
        from groundwork.report.live import Live, ask_live
        from groundwork.report.page import render_page
        from groundwork.secrets.keys import write_atomically
        from groundwork.site import load_site

        site = load_site(name_environment(environment))
        kept = find_kept(site, documents or ())
        live = Live(missing="hosts were not asked (--offline)") if offline else ask_live(site)
        cards, why = _draw_cards(site)
        sources = Sources(kept, tuple(list_passes(site)), live, cards, why)
        overview = make_overview(site, sources, datetime.now(UTC))
        path = target or Path(f"report-{site.environment}.html")
        # What is wrong with hosts is not for everybody on this machine.
        write_atomically(path, render_page(overview).encode(), 0o600)
        if as_json:
            print_json({"file": str(path), "missing": dict(overview.missing)})
            return
        for name, reason in overview.missing.items():
            print(f"no data for {name}: {reason}", file=sys.stderr)
        print(path)


def _draw_cards(site: Site) -> tuple[str, str]:
    """The layout of the declared cards, or why there is none."""
    from groundwork.problems import ProblemError
    from roles.gpu.cards import declared_cards
    from roles.gpu.drawing import draw_svg
    from roles.gpu.plan import plan_host

    machines = {name for name, machine in site.platform.machines.items() if machine.gpus}
    wanting = {process.host for process in site.topology.processes if process.sharing}
    plans = []
    for host in site.inventory.hosts:
        if host.name not in wanting and not host.groups & machines:
            continue
        try:
            plans.append(plan_host(site.platform, site.topology, host.name, declared_cards(site.platform, host.groups)))
        except ProblemError as error:
            return "", str(error)
    return (
        (draw_svg(plans, f"Cards of {site.environment}"), "") if plans else ("", "no host has a card or a share of one")
    )
