"""``python3 -m <package> VERB [SETTINGS]``: what the controller and systemd ask of a host with cards."""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .daemons import DaemonError, settle_defaults
from .environment import MissingError
from .metrics import write_metrics
from .relayout import LayoutError, RefusedError, Relayout, restore
from .settings import Settings, read_settings
from .smi import DriverError, Smi
from .system import System, UnitError
from .transition import StepError

VERBS = ("plan", "apply", "restore", "daemon", "metrics")
_ERRORS = (RefusedError, LayoutError, DriverError, UnitError, StepError, MissingError, DaemonError)


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever asked is gone; the change is carried through all the same.
        sys.stdout = Path("/dev/null").open("w")  # noqa: SIM115


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Let one process at a time change the cards."""
    path = Path("/run/groundwork/gpu.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def run(verb: str, source: str, drain: bool) -> int:
    """Carry out one verb: the exit status."""
    if verb == "daemon":
        settle_defaults()
        return 0
    if verb == "metrics":
        write_metrics(Smi(), Path(source))
        return 0
    text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    settings = read_settings(json.loads(text))
    if verb == "plan":
        print(json.dumps(Relayout(settings, Smi(), System(), _say).lags()))
        return 0
    with _alone(settings):
        if verb == "apply":
            Relayout(settings, Smi(), System(), _say).apply(drain)
        else:
            restore(settings, Smi(), System(), _say)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when done, 1 with the reason where it cannot be done."""
    parser = argparse.ArgumentParser(prog="gpu_cards")
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("source", nargs="?", default="-", help="settings; for metrics the file to write")
    parser.add_argument("--drain", action="store_true", help="stop whoever is in the way")
    given = parser.parse_args(arguments)
    try:
        return run(given.verb, given.source, given.drain)
    except _ERRORS as error:
        if given.verb == "plan":
            print(json.dumps([f"cannot be told: {error}"]))
            return 0
        print(f"{given.verb}: {error}", file=sys.stderr)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{given.verb}: {type(error).__name__}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
