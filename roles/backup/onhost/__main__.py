"""``python3 -m backup_jobs run|list|check|keep|restore SETTINGS ...``: what timers and the controller ask of a host.

Answers are JSON, one object a line, on standard output. Exit status 0: done; 1: failed; 2: something was found.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .keeping import thin_out
from .making import make_set
from .settings import JobError, read_settings


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
    keep = verbs.add_parser("keep")
    keep.add_argument("settings", type=Path, nargs="+")
    given = parser.parse_args(arguments)
    try:
        if given.verb == "keep":
            return max(_keep(path) for path in given.settings)
        result = make_set(read_settings(given.settings), given.by)
        say(result)
        return 0 if result["ok"] else 1
    except (JobError, OSError) as error:
        say({"error": str(error)})
        return 1


def _keep(path: Path) -> int:
    try:
        say(thin_out(read_settings(path)))
    except (JobError, OSError) as error:
        say({"settings": str(path), "error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
