"""``groundwork restore ENV``: put data back from backups, onto the hosts that they came from."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, print_json, report_errors
from groundwork.problems import Problem, ProblemError

if TYPE_CHECKING:
    from groundwork.backup.restoring import Restored


def restore(
    environment: options.Environment,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="What to restore: config, files, redis, nats, postgresql (comma-separated)."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="A moment, 2026-11-20T03:15:00Z; for sets: the newest before it."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace live data; without it, only says what would be lost.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Take up a restore that did not finish.")] = False,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Fetch and verify sets, say what would be lost, and with --overwrite put them in the live data's place.

    Exit code: 0 restored and compared, 2 it said what it would do, 1 an error or a restore that is not finished.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.backup.restoring import restore as put_back
        from groundwork.engine.api import name_environment
        from groundwork.site import load_site

        moment = read_moment(at) if at else None
        choose_lab(lab)
        site = load_site(name_environment(environment))
        found = put_back(site, options.split_limit(only), moment, overwrite, resume, _say)
        if as_json:
            print_json(found)
        else:
            _print(found)
        exit_with(found.exit_code)


def read_moment(text: str) -> datetime:
    """A moment with its zone. Raises ProblemError."""
    allowed = "a moment with its zone, not in the future: 2026-11-20T03:15:00Z"
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ProblemError([Problem("is no moment", key="--at", given=text, allowed=allowed)]) from None
    if moment.tzinfo is None:
        raise ProblemError([Problem("has no zone", key="--at", given=text, allowed=allowed)])
    if moment > datetime.now(UTC):
        raise ProblemError([Problem("lies in the future", key="--at", given=text, allowed=allowed)])
    return moment.astimezone(UTC)


def _print(found: Restored) -> None:
    for name, item in found.items.items():
        print(f"{name}: set {item.get('set', '?')} from {item.get('repository', 'what was fetched before')}")
        for refused in item.get("refused", []):
            print(f"  passed over: {refused}")
        if item.get("loss"):
            print(f"  lost: {item['loss']}")
    for host, units in found.stopped.items():
        if units and found.outcome != "would restore":
            print(f"{host}: stopped {', '.join(units)}")
    for problem in found.problems:
        print(f"error: {problem['key']}: {problem['message']}", file=sys.stderr)
    seconds = ", ".join(f"{phase} {took} s" for phase, took in found.phases.items())
    print(f"restore: {found.outcome} ({seconds})")
    if found.outcome == "would restore":
        print("nothing was changed; the same with --overwrite does it")
    elif found.outcome == "unfinished":
        told = "data are neither the old nor the new: agents stay down"
        print(f"{told}; go on with: groundwork restore {found.environment} --resume")


def _say(text: str) -> None:
    print(f"restore: {text}", file=sys.stderr, flush=True)
