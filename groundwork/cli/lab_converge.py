"""Applies and verifies a lab in a process of its own: ``python -m groundwork.cli.lab_converge NAME``.

pyinfra replaces the standard library's threads by gevent's when it is imported, which a process that has already
used threads (the lab does, to boot hosts side by side) does not survive. The progress goes to standard error, the
result as JSON to standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from groundwork.lab.errors import lab_error
from groundwork.lab.handover import SiteOutcome, apply_lab, verify_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.problems import Problem, ProblemError

if TYPE_CHECKING:
    from groundwork.engine.checks import Check


def converge_apart(name: str, phases: Phases, *, plain: bool) -> SiteOutcome:
    """Start the process for lab ``name`` and return what it found; its timings are added to ``phases``.

    ``plain`` asks for lines of progress even on a terminal. Raises ProblemError as the process did.
    """
    command = [sys.executable, "-m", __name__, name, *(["--plain"] if plain else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise lab_error(f"applying the platform ended without a result (exit {done.returncode})") from None
    if "problems" in result:
        raise ProblemError(Problem(**problem) for problem in result["problems"])
    phases.seconds.update(result["phases"])
    return SiteOutcome(**result["outcome"])


def converge(name: str, *, plain: bool) -> dict[str, object]:
    """Apply, and verify when that went well: checks of half-applied hosts would only repeat the failure."""
    from groundwork.cli.progress import show_progress

    spec = LabState(name).read_spec()
    if spec is None:
        raise lab_error(f"no lab named {name}")
    phases = Phases(lambda text: print(f"lab: {text}", file=sys.stderr, flush=True))

    def show(check: Check) -> None:
        if check.outcome == "failed" or not sys.stderr.isatty():
            phases.note(f"{check.host}: {check.role}: {check.name}: {check.outcome}")

    with show_progress(plain=plain) as on_event:
        outcome = apply_lab(spec, phases, on_event)
    if not outcome.problems:
        verify_lab(spec, phases, outcome, show)
    return {"outcome": asdict(outcome), "phases": phases.seconds}


def main(arguments: list[str]) -> int:
    """Run ``converge`` and print its result; the exit code is 1 when it could not run."""
    try:
        result = converge(arguments[0], plain="--plain" in arguments)
    except ProblemError as error:
        print(json.dumps({"problems": [problem.as_dict() for problem in error.problems]}))
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
