"""``groundwork test``: the project's own tests, tier by tier."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import INTERRUPTED, exit_with, report_errors

# A unit test that takes this long hangs.
UNIT = ("tests/unit", "--timeout", "300")
# From the quickest to the slowest; a tier that fails does not keep the next one from running.
ALL_TIERS: dict[str, tuple[str, ...]] = {
    "unit": UNIT,
    "lab": ("tests/lab",),
    "vm": ("tests/vm",),
}
# Role tests of one run without --all: all of them together take longer than a run may, so each day has its own.
ROLE_TESTS = "test_role_*.py"
# Names of the labs that tests make begin so; what a stopped test left is removed.
TEST_LABS = ("role-", "selftest", "site-", "test")
NO_TESTS = 5
STOP_SECONDS = 120


def test(
    everything: Annotated[
        bool, typer.Option("--all", help="Also the slow lab tests, and those that need a virtual machine.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Run the unit tests, then the lab tests: converge, unchanged second run, verification, drift.

    Programs that the tests start are installed where they are missing. Exit code: 0 all passed, 1 something failed.
    """
    with report_errors(debug=debug):
        from groundwork.cli.programs import install_missing
        from groundwork.lab.state import list_names
        from groundwork.site import find_root

        root = find_root()
        install_missing(_say, everything)
        labs = set(list_names())
        environ = {**os.environ, **({"GROUNDWORK_TEST_ALL": "1"} if everything else {})}
        failed = []
        try:
            for tier, arguments in (ALL_TIERS if everything else list_tiers(root, date.today())).items():
                if not (root / arguments[0]).exists():
                    continue
                print(f"== {tier} tests: pytest {' '.join(arguments)}", flush=True)
                started = time.monotonic()
                code = _run([sys.executable, "-m", "pytest", *arguments], str(root), environ)
                print(f"== {tier} tests: exit {code} after {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
                failed += [tier] if code not in (0, NO_TESTS) else []
        finally:
            remove_leftovers(labs)
        exit_with(1 if failed else 0)


def list_tiers(root: Path, day: date) -> dict[str, tuple[str, ...]]:
    """The tiers of a run without ``--all``: units, the site as a whole, and the day's role.

    Which role has its tests run follows the date; each has its turn within as many days as there are roles.
    """
    folder = root / "tests" / "lab"
    roles = sorted(folder.glob(ROLE_TESTS))
    others = sorted(set(folder.glob("test_*.py")) - set(roles))
    todays = roles[day.toordinal() % len(roles)] if roles else None
    for role in roles:
        if role != todays:
            _say(f"left for another day, or for --all: {role.relative_to(root)}")
    chosen = [*others, *([todays] if todays else [])]
    lab = tuple(str(path.relative_to(root)) for path in chosen)
    return {"unit": UNIT, "lab": (*lab, "-m", "not slow")}


def _say(text: str) -> None:
    print(f"test: {text}", file=sys.stderr, flush=True)


def _run(command: list[str], root: str, environ: Mapping[str, str]) -> int:
    """Run one tier; when stopped, pytest gets the time to take down what its fixtures started."""
    process = subprocess.Popen(command, cwd=root, env=environ, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        exit_with(INTERRUPTED)


def remove_leftovers(before: set[str]) -> list[str]:
    """Take down the labs that tests made since ``before`` and could not take down; returns their names."""
    from groundwork.lab.lifecycle import remove_lab
    from groundwork.lab.state import list_names

    left = [name for name in list_names() if name not in before and name.startswith(TEST_LABS)]
    if os.environ.get("GROUNDWORK_KEEP_LAB"):
        return []
    for name in left:
        _say(f"removing lab {name}, which a test left")
        remove_lab(name)
    return left
