"""``groundwork backup``: make sets now, list them, read them back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors

if TYPE_CHECKING:
    from groundwork.backup.reports import BackupReport
    from groundwork.site import Site


class _Group(TyperGroup):
    """``backup ENV`` is ``backup of ENV``: what is no sub-command is an environment."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        from groundwork.scheduled.tasks import TASKS

        # Sub-commands of a scheduled task that this version lacks are missing, and no environments.
        reserved = {task.words[1] for task in TASKS.values() if task.words[0] == "backup"}
        if args and args[0] not in {*self.commands, *reserved}:
            args = ["of", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(cls=_Group, help="Make sets now (ENV --now), list them, read them back.", no_args_is_help=True)
Items = Annotated[list[str] | None, typer.Option("--item", "-i", help="Only these items of the policy.")]


@app.command("of", hidden=True)
def back_up(
    environment: options.Environment,
    now: Annotated[bool, typer.Option("--now", help="Make a set of every item now.")] = False,
    items: Items = None,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Make a set of every item now (with --now), or list the sets that there are.

    Exit code: 0 every set was made, 1 one was not.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.backup.run import list_sets, make_sets

        site = _load(environment, lab)
        chosen = options.split_limit(items)
        _finish(make_sets(site, chosen, _say) if now else list_sets(site, chosen), as_json)


@app.command("list")
def list_them(
    environment: options.Environment,
    items: Items = None,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """List every set of every repository. Exit code: 0, or 1 where one cannot be read."""
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.backup.run import list_sets

        _finish(list_sets(_load(environment, lab), options.split_limit(items)), as_json)


@app.command("check")
def check(
    environment: options.Environment,
    items: Items = None,
    every_set: Annotated[
        bool, typer.Option("--every-set", help="Compare the files of all sets, not the newest.")
    ] = False,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Read every repository back: all of its data, signatures, each file of the newest sets, and their age.

    Exit code: 0 everything holds, 2 something does not, 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.backup.run import check_sets

        site = _load(environment, lab)
        _finish(check_sets(site, options.split_limit(items), every_set, _say), as_json)


@app.command("repair")
def mend(
    environment: options.Environment,
    items: Items = None,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Take damaged files out of repositories, so that the next backup saves again what was in them.

    Sets that need them cannot be had back; check names them. Exit code: 0, or 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.backup.run import repair

        _finish(repair(_load(environment, lab), options.split_limit(items)), as_json)


def _load(environment: str, lab: str | None) -> Site:
    from groundwork.engine.api import name_environment
    from groundwork.site import load_site

    choose_lab(lab)
    return load_site(name_environment(environment))


def _finish(report: BackupReport, as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        from groundwork.report.backup import print_backups

        print_backups(report, make_console())
    exit_with(report.exit_code)


def _say(text: str) -> None:
    print(f"backup: {text}", file=sys.stderr, flush=True)
