"""``groundwork plan ENV``: what an apply would change."""

from __future__ import annotations

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors


def plan(
    environment: options.Environment,
    limit: options.Limit = None,
    as_json: options.Json = False,
    lab: options.Lab = None,
    no_snapshot: options.NoSnapshot = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """List, per host, each operation that would change something, with its diff. Changes nothing.

    Exit code: 0 nothing would change, 2 something would, 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.cli.progress import show_progress
        from groundwork.engine.api import plan as make_plan
        from groundwork.report.runs import print_run

        choose_lab(lab)
        with show_progress(plain=as_json or verbose) as on_event:
            result = make_plan(
                environment,
                limit=options.split_limit(limit),
                snapshot=not no_snapshot,
                verbose=verbose,
                on_event=on_event,
            )
        if as_json:
            print_json(result)
        else:
            print_run(result, make_console())
        exit_with(result.exit_code)
