"""``groundwork test``: the project's own tests, tier by tier."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import INTERRUPTED, exit_with, report_errors

# From the quickest to the slowest; a tier that fails does not keep the next one from running.
TIERS: dict[str, tuple[str, ...]] = {
    "unit": ("tests/unit",),
    "lab": ("tests/lab", "-m", "not slow"),
}
ALL_TIERS: dict[str, tuple[str, ...]] = {"unit": ("tests/unit",), "lab": ("tests/lab",), "vm": ("tests/vm",)}
NO_TESTS = 5
STOP_SECONDS = 120


def test(
    everything: Annotated[
        bool, typer.Option("--all", help="Also the slow lab tests, and those that need a virtual machine.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Run the unit tests, then the lab tests: converge, unchanged second run, verification, drift.

    Exit code: 0 all passed, 1 something failed.
    """
    with report_errors(debug=debug):
        from groundwork.site import find_root

        root = find_root()
        failed = False
        for tier, arguments in (ALL_TIERS if everything else TIERS).items():
            if not (root / arguments[0]).is_dir():
                continue
            print(f"== {tier} tests: {' '.join(arguments)}", flush=True)
            code = _run([sys.executable, "-m", "pytest", *arguments], str(root))
            failed |= code not in (0, NO_TESTS)
        exit_with(1 if failed else 0)


def _run(command: list[str], root: str) -> int:
    """Run one tier; when stopped, pytest gets the time to take down what its fixtures started."""
    process = subprocess.Popen(command, cwd=root, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        exit_with(INTERRUPTED)
