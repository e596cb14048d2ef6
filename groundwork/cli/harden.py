"""``groundwork harden ENV``: check hosts against a level, bring them to it, or put back what was there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors
from groundwork.problems import Problem, ProblemError

DEPLOY = Path("deploys/harden.py")


def harden(
    environment: options.Environment,
    check: Annotated[bool, typer.Option("--check", help="Judge the hosts; changes nothing.")] = False,
    enforce: Annotated[bool, typer.Option("--enforce", help="Bring the controls about.")] = False,
    revert: Annotated[bool, typer.Option("--revert", help="Put back what was there before the first run.")] = False,
    level: Annotated[
        str | None, typer.Option(help="baseline, strict or paranoid; by default what the host's data name.")
    ] = None,
    limit: options.Limit = None,
    as_json: options.Json = False,
    junit: Annotated[Path | None, typer.Option(help="With --check: write a JUnit report to this file.")] = None,
    lab: options.Lab = None,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Check hosts against the controls of a level (--check, the default), enforce them, or revert.

    Exit code: 0 nothing found or everything done, 2 the check has findings, 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        if check + enforce + revert > 1:
            raise ProblemError([Problem("only one of them", key="--check, --enforce, --revert")])
        chosen = _read_level(level)
        choose_lab(lab)
        names = options.split_limit(limit)
        if enforce or revert:
            _change(environment, names, chosen, revert, as_json, verbose)
        else:
            _check(environment, names, chosen, as_json, junit)


def _read_level(level: str | None) -> str | None:
    from groundwork.report.hardening import Level

    known = [str(one) for one in Level]
    if level is not None and level not in known:
        raise ProblemError([Problem("there is no such level", key="--level", given=level, allowed=", ".join(known))])
    return level


def _check(environment: str, limit: Sequence[str], level: str | None, as_json: bool, junit: Path | None) -> None:
    from groundwork.engine.api import name_environment
    from groundwork.report.hardening import Level, print_hardening, write_junit
    from groundwork.site import load_site
    from roles.hardening.inspection import check as inspect

    site = load_site(name_environment(environment))
    report = inspect(site, Level(level) if level else None, limit)
    if junit is not None:
        write_junit(report, junit)
    if as_json:
        print_json(report)
    else:
        print_hardening(report, make_console())
    exit_with(report.exit_code)


def _change(
    environment: str, limit: Sequence[str], level: str | None, revert: bool, as_json: bool, verbose: bool
) -> None:
    from groundwork.cli.progress import show_progress
    from groundwork.engine.api import make_request
    from groundwork.engine.results import Mode
    from groundwork.engine.runner import run
    from groundwork.report.runs import print_run

    request = make_request(Mode.APPLY, environment, limit, [DEPLOY], verbose=verbose)
    data: dict[str, str | int | float | bool | None] = {"hardening_revert": True} if revert else {}
    data |= {"hardening_level": level} if level else {}
    with show_progress(plain=as_json or verbose) as on_event:
        result = run(request.model_copy(update={"data": data}), on_event)
    if as_json:
        print_json(result)
    else:
        print_run(result, make_console())
    exit_with(result.exit_code)
