"""``groundwork bench``: how long a fleet's runs take, beside other tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import exit_with, report_errors


def bench(
    hosts: Annotated[list[int] | None, typer.Option("--hosts", help="How many lab hosts; may be repeated.")] = None,
    delay: Annotated[
        list[int] | None, typer.Option("--delay", help="Milliseconds there and back; may be repeated.")
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Runs of which the median counts.")] = 3,
    write: Annotated[Path | None, typer.Option("--write", help="File for the results, as Markdown.")] = None,
    debug: options.Debug = False,
) -> None:
    """Run 100 operations on lab hosts with ansible-core, Mitogen, pyinfra, Groundwork and a shell script, in turn.

    By default 1 and 10 hosts without delay and with 20 ms. The lab is made for it and removed; what is compared with is
    installed into an environment that is removed, too. Exit code: 0, 1 an error.
    """
    with report_errors(debug=debug):
        from groundwork.site import find_root

        root = find_root()
        command = [sys.executable, "benchmarks/fleet_speed.py", "--repeat", str(repeat)]
        command += ["--hosts", *map(str, hosts or [1, 10]), "--delay", *map(str, delay or [0, 20])]
        if write is not None:
            command += ["--write", str(write.absolute())]
        done = subprocess.run(command, cwd=root, check=False)
        exit_with(1 if done.returncode else 0)
