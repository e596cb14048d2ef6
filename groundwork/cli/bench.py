"""``groundwork bench``: how long a fleet's runs take, beside other tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import exit_with, report_errors

STOPPED = 3


def bench(
    hosts: Annotated[
        list[int] | None, typer.Option("--hosts", min=1, max=200, help="How many lab hosts; may be repeated.")
    ] = None,
    delay: Annotated[
        list[int] | None, typer.Option("--delay", min=0, help="Milliseconds there and back; may be repeated.")
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=0, help="Unchanged runs of which the median counts.")] = 3,
    first: Annotated[int, typer.Option("--first", min=0, help="Runs on hosts that have nothing, likewise.")] = 1,
    tool: Annotated[list[str] | None, typer.Option("--tool", help="Only this tool; may be repeated.")] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="File of the runs; those in it are not repeated.")
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0, help="Begin no run after this time.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the hosts up, for a run that goes on.")] = False,
    write: Annotated[
        Path | None, typer.Option("--write", help="Markdown document whose section is replaced or added.")
    ] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Run 100 operations on lab hosts with ansible-core, Mitogen, pyinfra, Groundwork and a shell script, in turn.

    By default 1 and 10 hosts without delay and with 20 ms. The lab is made for it and removed; what is compared with
    is installed below .cache by locked digests. Exit code: 0, 1 an error, 3 the minutes were over before all was
    measured; with --results the next call goes on.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.site import find_root

        command = [sys.executable, "-m", "benchmarks.fleet_speed"]
        command += ["--repeat", str(repeat), "--first", str(first)]
        command += ["--hosts", *map(str, hosts or [1, 10]), "--delay", *map(str, delay if delay else [0, 20])]
        command += ["--tools", *tool] if tool else []
        for option, path in (("--results", results), ("--write", write)):
            command += [option, str(path.absolute())] if path is not None else []
        command += ["--minutes", str(minutes)] if minutes is not None else []
        command += [option for option, wanted in (("--keep", keep), ("--json", as_json)) if wanted]
        code = subprocess.run(command, cwd=find_root(), check=False).returncode
        exit_with(code if code in (0, STOPPED) else 1)
