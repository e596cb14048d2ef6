"""``groundwork drift ENV``: what has changed on the hosts since they were right?"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors


def drift(
    environment: options.Environment,
    limit: options.Limit = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only compare with the baseline; no plan, no verify.")] = False,
    accept: Annotated[bool, typer.Option("--accept", help="Take the hosts as they are for right.")] = False,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Compare the hosts with the declaration and with how they last were; changes nothing on them.

    Exit code: 0 no drift, 2 drift, 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.drift.items import Source
        from groundwork.drift.run import EVERYTHING, look
        from groundwork.drift.run import accept as take_for_right
        from groundwork.engine.api import name_environment
        from groundwork.report.drift import print_drift
        from groundwork.site import load_site

        choose_lab(lab)
        site = load_site(name_environment(environment))
        names = options.split_limit(limit)
        if accept:
            taken = take_for_right(site, names)
            if as_json:
                print_json({"accepted": taken})
            else:
                print(f"baseline taken of {', '.join(taken)}")
            exit_with(0)
        sources = (Source.BASELINE,) if quick else EVERYTHING
        report = look(site, limit=names, sources=sources, on_step=_say)
        if as_json:
            print_json(report)
        else:
            print_drift(report, make_console())
        exit_with(report.exit_code)


def _say(step: str) -> None:
    print(f"drift: {step}", file=sys.stderr, flush=True)
