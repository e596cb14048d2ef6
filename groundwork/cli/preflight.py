"""``groundwork preflight ENV``: would a deploy work?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors
from groundwork.preflight.findings import Severity

if TYPE_CHECKING:
    from groundwork.preflight.findings import Finding
    from groundwork.report.junit import Case


def preflight(
    environment: options.Environment,
    limit: options.Limit = None,
    static: Annotated[bool, typer.Option("--static", help="Contact no host.")] = False,
    fail_on: Annotated[Severity, typer.Option(help="The least severity that counts for exit code 2.")] = (
        Severity.WARNING
    ),
    everything: Annotated[bool, typer.Option("--all", help="Show checks that passed, too.")] = False,
    as_json: options.Json = False,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report to this file.")] = None,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Check before a deploy that it would work: the declaration first, then every host. Changes nothing.

    Exit code: 0 all good, 2 findings, 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.engine.api import name_environment
        from groundwork.preflight.run import preflight as check
        from groundwork.report.junit import write_junit
        from groundwork.report.preflight import print_preflight
        from groundwork.site import load_site

        choose_lab(lab)
        site = load_site(name_environment(environment))
        result = check(site, limit=options.split_limit(limit), live=not static, on_host=_say)
        if junit is not None:
            cases = (_case(finding) for finding in result.findings)
            write_junit(junit, f"preflight {result.environment}", cases, result.seconds)
        if as_json:
            print_json(result)
        else:
            print_preflight(result, make_console(), everything)
        exit_with(result.exit_code(fail_on))


def _say(host: str) -> None:
    print(f"asking {host}", file=sys.stderr, flush=True)


def _case(finding: Finding) -> Case:
    from groundwork.preflight.findings import Status
    from groundwork.report.junit import Case

    return Case(
        group=f"{finding.host}.{finding.id.partition('.')[0]}",
        name=finding.id,
        failure=f"{finding.severity}: {finding.evidence}" if finding.status is Status.FAILED else "",
        skipped=finding.evidence if finding.status is Status.SKIPPED else "",
        details=finding.remedy,
    )
