"""``groundwork apply ENV``: bring the hosts into the declared state."""

from __future__ import annotations

from typing import Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors


def apply(
    environment: options.Environment,
    limit: options.Limit = None,
    as_json: options.Json = False,
    lab: options.Lab = None,
    drain: Annotated[bool, typer.Option("--drain", help="Stop whoever uses a GPU whose layout changes.")] = False,
    no_snapshot: options.NoSnapshot = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Bring the hosts into the declared state. A host that fails does not stop the others.

    Exit code: 0 every host is converged, 1 an error (failed hosts and how to retry them are listed).
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.cli.progress import show_progress
        from groundwork.engine.api import apply as converge
        from groundwork.report.runs import print_run

        choose_lab(lab)
        with show_progress(plain=as_json or verbose) as on_event:
            result = converge(
                environment,
                limit=options.split_limit(limit),
                snapshot=not no_snapshot,
                verbose=verbose,
                on_event=on_event,
                data={"gpu_drain": True} if drain else {},
            )
        if as_json:
            print_json(result)
        else:
            print_run(result, make_console())
        exit_with(result.exit_code)
