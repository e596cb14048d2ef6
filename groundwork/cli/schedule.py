"""``groundwork schedule``: the passes that run by themselves on the controller host."""

from __future__ import annotations

from typing import Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors

app = typer.Typer(help="List, run and review the passes that run by themselves.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Key of the manifest's schedules.")]


@app.command("list")
def list_schedules(
    environment: options.Environment,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """List every declared schedule: its command and last run, or why it is left out. Contacts no host."""
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.engine.api import name_environment
        from groundwork.scheduled.passes import PassHistory
        from groundwork.scheduled.run import build_command
        from groundwork.scheduled.tasks import why_left_out
        from groundwork.site import load_site

        choose_lab(lab)
        site = load_site(name_environment(environment))
        history = PassHistory(site)
        rows = []
        for name, schedule in site.platform.schedules.items():
            reports = history.read(name)
            reason = why_left_out(schedule.task)
            rows.append(
                {
                    "schedule": name,
                    "task": schedule.task,
                    "calendar": schedule.calendar,
                    "window": schedule.window,
                    "command": "" if reason else " ".join(["groundwork", *build_command(site, schedule)]),
                    "left_out": reason,
                    "last_run": reports[-1].started if reports else None,
                    "last_outcome": reports[-1].outcome if reports else None,
                }
            )
        if as_json:
            print_json({"schedules": rows})
            return
        from rich.table import Table

        table = Table("schedule", "calendar", "window", "command", "last run", "outcome", box=None, pad_edge=False)
        for row in rows:
            command = row["command"] or f"left out: {row['left_out']}"
            last = str(row["last_run"] or "-")[:16].replace("T", " ")
            table.add_row(
                str(row["schedule"]), str(row["calendar"]), str(row["window"] or "-"), str(command), last,
                str(row["last_outcome"] or "-"),
            )  # fmt: skip
        make_console().print(table)


@app.command("run")
def run(
    environment: options.Environment,
    name: Name,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a pass that is running.")] = 3600.0,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Run a schedule now, within its maintenance window, and keep its report. The timers call this.

    Exit code: that of the pass's command; 0 where no window is open, 1 where its time was up.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.engine.api import name_environment
        from groundwork.scheduled.passes import Outcome
        from groundwork.scheduled.run import run_pass
        from groundwork.site import load_site

        choose_lab(lab)
        report = run_pass(load_site(name_environment(environment)), name, wait)
        if as_json:
            print_json(report)
        else:
            found = ", ".join(f"{count} {severity}" for severity, count in report.findings.items()) or "no findings"
            said = f" ({report.message})" if report.message else ""
            print(f"{name}: {report.outcome}{said}: {found}, drift {report.drift}, {report.seconds:.1f} s")
        exit_with(1 if report.outcome is Outcome.STOPPED else report.exit_code)


@app.command("history")
def show_history(
    environment: options.Environment,
    name: Name,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Show the kept reports of a schedule, the latest last."""
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.engine.api import name_environment
        from groundwork.scheduled.passes import PassHistory
        from groundwork.scheduled.run import find_schedule
        from groundwork.site import load_site

        choose_lab(lab)
        site = load_site(name_environment(environment))
        find_schedule(site, name)
        reports = PassHistory(site).read(name)
        if as_json:
            print_json({"reports": [report.model_dump(mode="json") for report in reports]})
            return
        from rich.table import Table

        table = Table("started", "outcome", "findings", "drift", "seconds", box=None, pad_edge=False)
        for report in reports:
            found = ", ".join(f"{count} {severity}" for severity, count in report.findings.items()) or "-"
            table.add_row(report.started[:19], report.outcome, found, str(report.drift), f"{report.seconds:.1f}")
        make_console().print(table)
