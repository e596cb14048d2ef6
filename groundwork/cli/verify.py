"""``groundwork verify ENV``: is everything on the live hosts as declared?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors

if TYPE_CHECKING:
    from groundwork.engine.checks import Check


def verify(
    environment: options.Environment,
    limit: options.Limit = None,
    as_json: options.Json = False,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report to this file.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Hosts verified side by side.")] = 1,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Check on the live hosts that everything is as declared. Changes nothing.

    Exit code: 0 all checks pass, 2 findings, 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.engine.verification import verify as inspect
        from groundwork.report.verification import print_verification

        choose_lab(lab)
        result = inspect(
            environment,
            limit=options.split_limit(limit),
            junit=junit,
            workers=workers,
            on_check=_show,
        )
        if as_json:
            print_json(result)
        else:
            print_verification(result, make_console())
        exit_with(result.exit_code)


def _show(check: Check) -> None:
    line = f"{check.host}: {check.role}: {check.name}: {check.outcome}"
    if sys.stderr.isatty():
        # One line that is written over, so that a terminal keeps only the failures.
        print(f"\r\033[K{line[:100]}", end="\n" if check.outcome == "failed" else "", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
