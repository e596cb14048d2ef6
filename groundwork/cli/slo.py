"""``groundwork slo``: an environment's objectives, what is left of their budgets, and whether to release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors

if TYPE_CHECKING:
    from groundwork.objectives.budget import Budget

app = typer.Typer(
    help="Objectives of an environment: budgets, release gate, files for other tools.", no_args_is_help=True
)
FINDINGS = 2


@app.command("status")
def show_status(
    environment: options.Environment,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Show each objective's budget and burn rate.

    Exit code: 0 all have budget left, 1 an error, 2 one is spent, pages, or is not measured.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.objectives.budget import judge

        budgets = _ask(environment, lab)
        judgement = judge(budgets, stop_below=0.0, guarded_below=0.0)
        if as_json:
            print_json({"objectives": [one.as_dict() for one in budgets], "findings": list(judgement.reasons)})
        else:
            _print_budgets(budgets)
        exit_with(FINDINGS if judgement.verdict == "stop" else 0)


@app.command("gate")
def gate(
    environment: options.Environment,
    minimum: Annotated[
        float, typer.Option("--minimum", min=0, max=100, help="Percent of each budget that must be left.")
    ] = 15.0,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Say whether a release may go ahead. What is not measured stops it, as a page or a spent budget does.

    Exit code: 0 it may (with care, where the reasons say so), 1 an error, 2 it may not.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.objectives.budget import GUARDED_BELOW, judge

        stop_below = minimum / 100
        judgement = judge(_ask(environment, lab), stop_below, max(GUARDED_BELOW, stop_below))
        if as_json:
            print_json({"verdict": judgement.verdict, "reasons": list(judgement.reasons)})
        else:
            print(judgement.verdict)
            for reason in judgement.reasons:
                print(f"  {reason}")
        exit_with(FINDINGS if judgement.verdict == "stop" else 0)


@app.command("export")
def export(
    environment: options.Environment,
    folder: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to write; made when missing.")],
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Write the objectives as files: Sloth's format, rules with their tests, OpenSLO. Contacts no host."""
    with report_errors(as_json=as_json, debug=debug):
        choose_lab(lab)
        from groundwork.objectives.files import render_files
        from groundwork.site import load_site

        _write(folder, render_files(load_site(environment).platform), as_json)


@app.command("generate")
def generate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Objectives in Sloth's format.")],
    folder: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to write; made when missing.")],
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Write rules, and tests of their alerts, for files in Sloth's format (prometheus/v1). Contacts no host."""
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.objectives.given import render_given_files
        from groundwork.objectives.sloth import read_spec

        specs = [read_spec(path, str(path)) for path in files]
        rendered = {name: content for spec in specs for name, content in render_given_files(spec).items()}
        _write(folder, rendered, as_json)


def _write(folder: Path, files: dict[str, str], as_json: bool) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    if as_json:
        print_json({"files": [str(folder / name) for name in files]})
    else:
        print(f"{len(files)} files in {folder}")


def _ask(environment: str, lab: str | None) -> list[Budget]:
    choose_lab(lab)
    from groundwork.objectives.budget import build_queries, read_budgets
    from groundwork.objectives.derivation import derive_objectives, make_spec
    from groundwork.objectives.given import read_given
    from groundwork.objectives.prometheus import query_prometheus
    from groundwork.site import load_site

    site = load_site(environment)
    own = make_spec(site.platform, derive_objectives(site.platform))
    specs = [*([own] if own else []), *read_given(site.platform, site.folder)]
    return [one for spec in specs for one in read_budgets(spec, query_prometheus(site, build_queries(spec)))]


def _print_budgets(budgets: list[Budget]) -> None:
    from rich.table import Table

    table = Table("objective", "promised", "budget left", "burn rate", "alerts", box=None)
    for one in budgets:
        left = "not measured" if one.remaining is None else f"{one.remaining:.1%}"
        rate = "-" if one.burn_rate is None else f"{one.burn_rate:.2f}"
        table.add_row(one.objective, f"{one.target:g} %", left, rate, ", ".join(one.firing) or "-")
    make_console().print(table)
