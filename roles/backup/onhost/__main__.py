"""``python3 -m backup_jobs run|list|check|keep|restore SETTINGS ...``: what timers and the controller ask of a host.

Answers are JSON, one object a line, on standard output. Exit status 0: done; 1: failed; 2: something was found.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import restore_state, restoring
from .checking import check_places, list_places
from .keeping import repair, thin_out
from .making import make_set
from .settings import JobError, Settings, read_settings


def say(answer: dict[str, Any]) -> None:
    """Print one answer."""
    print(json.dumps(answer), flush=True)


def main(arguments: list[str]) -> int:
    """Carry out one verb."""
    parser = argparse.ArgumentParser(prog="backup_jobs", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run")
    run.add_argument("settings", type=Path)
    run.add_argument("--by", choices=("timer", "command"), default="timer")
    for name in ("keep", "repair"):
        verbs.add_parser(name).add_argument("settings", type=Path, nargs="+")
    listing, check = verbs.add_parser("list"), verbs.add_parser("check")
    for verb in (listing, check):
        verb.add_argument("settings", type=Path, nargs="+")
        verb.add_argument("--place", default="")
    check.add_argument("--every-set", action="store_true")
    for name in ("fetch", "place", "compare", "state"):
        verb = verbs.add_parser(name)
        verb.add_argument("settings", type=Path)
        if name == "fetch":
            verb.add_argument("--at", type=_read_moment)
            verb.add_argument("--set", default="")
    given = parser.parse_args(arguments)
    try:
        return _carry_out(given)
    except (JobError, OSError) as error:
        say({"error": str(error)})
        return 1


def _read_moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _carry_out(given: argparse.Namespace) -> int:
    if given.verb == "run":
        result = make_set(read_settings(given.settings), given.by)
        say(result)
        return 0 if result["ok"] else 1
    if given.verb in ("keep", "repair"):
        return max(_look_after(path, {"keep": thin_out, "repair": repair}[given.verb]) for path in given.settings)
    if given.verb == "list":
        for path in given.settings:
            say(list_places(_only(read_settings(path), given.place)))
        return 0
    if given.verb == "check":
        answers = [check_places(_only(read_settings(path), given.place), given.every_set) for path in given.settings]
        for answer in answers:
            say(answer)
        return 2 if any(one["findings"] for answer in answers for one in answer["places"].values()) else 0
    settings = read_settings(given.settings)
    if given.verb == "fetch":
        say(restoring.fetch(settings, given.at, given.set))
    elif given.verb == "state":
        say(restore_state.read_state(settings))
    else:
        say({"place": restoring.place, "compare": restoring.compare}[given.verb](settings))
    return 0


def _only(settings: Settings, place: str) -> Settings:
    """The settings with one of the places, where one is named."""
    return replace(settings, places=tuple(one for one in settings.places if place in ("", one.name)))


def _look_after(path: Path, deed: Callable[[Settings], dict[str, Any]]) -> int:
    try:
        say(deed(read_settings(path)))
    except (JobError, OSError) as error:
        say({"settings": str(path), "error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
