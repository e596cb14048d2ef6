"""``groundwork logs``: lines of the journals of all hosts, merged by time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, print_json, print_problems, report_errors

if TYPE_CHECKING:
    from groundwork.journals.collecting import Collected
    from groundwork.journals.question import Question
    from groundwork.site import Site

FINDINGS = 2
PAUSE, OVERLAP = 2.0, 60.0
"""Seconds between two looks of ``--follow``, and how far each looks back: lines reach the log host a little late."""


def logs(
    environment: options.Environment,
    unit: Annotated[str, typer.Option("--unit", "-u", help="A unit, or a pattern such as 'chorus-agent-*'.")] = "",
    since: Annotated[str, typer.Option("--since", "-S", help="15m, 2h, 7d ago, or 2026-11-25T19:30[+01:00].")] = "",
    until: Annotated[str, typer.Option("--until", "-U", help="As --since.")] = "",
    grep: Annotated[str, typer.Option("--grep", "-g", help="Perl-compatible regular expression.")] = "",
    trace: Annotated[str, typer.Option("--trace-id", help="Identifier of a trace, or a traceparent.")] = "",
    hosts: Annotated[list[str] | None, typer.Option("--host", help="Only these hosts or groups.")] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="The newest so many, of all hosts together.")] = 1000,
    origin: Annotated[
        str | None,
        typer.Option("--from", metavar="store|hosts", help="The log host (where there is one), or each host itself."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until it is stopped.")] = False,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Show what hosts logged, merged by time: from the log host, or with --from hosts from each host itself.

    Exit code: 0 every host's lines are there (be it none), 1 an error, 2 hosts are missing, which stderr names.
    """
    with report_errors(as_json=as_json, debug=debug):
        choose_lab(lab)
        from groundwork.engine.selection import select_hosts
        from groundwork.journals.collecting import choose_origin, collect
        from groundwork.journals.question import make_question
        from groundwork.problems import Problem, ProblemError
        from groundwork.site import load_site

        if follow and (as_json or until):
            raise ProblemError([Problem("does not go with --json and --until", key="--follow")])
        question = make_question(unit, since, until, grep, trace, lines)
        site = load_site(environment)
        chosen = select_hosts(site, "", options.split_limit(hosts))
        place = choose_origin(site, origin)
        collected = collect(site, question, chosen, place, time.time())
        if as_json:
            print_json(_describe(collected))
        else:
            for line in collected.lines:
                print(line)
            print_problems(collected.missing)
        if follow:
            _follow(site, question, collected)
        exit_with(FINDINGS if collected.missing else 0)


def _describe(collected: Collected) -> dict[str, object]:
    return {
        "from": collected.origin,
        "hosts": list(collected.hosts),
        "missing": [problem.as_dict() for problem in collected.missing],
        "cut": collected.cut,
        "lines": [line.as_dict() for line in collected.lines],
    }


def _follow(site: Site, question: Question, collected: Collected) -> None:
    """Print what comes, each line once, until the user stops it."""
    from dataclasses import replace

    from groundwork.journals.collecting import collect

    seen = dict.fromkeys(collected.lines)
    told = set(collected.missing)
    while True:
        time.sleep(PAUSE)
        now = time.time()
        fresh = collect(site, replace(question, since=now - OVERLAP), collected.hosts, collected.origin, now)
        for line in fresh.lines:
            if line not in seen:
                print(line, flush=True)
        print_problems(problem for problem in fresh.missing if problem not in told)
        told = set(fresh.missing)
        seen = {line: None for line in (*seen, *fresh.lines) if line.time > now - 2 * OVERLAP}
