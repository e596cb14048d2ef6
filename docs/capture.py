"""Runs a command and saves what it printed as a picture: ``python docs/capture.py TARGET.svg COMMAND ...``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 110
LINES = 45
"""Lines kept; of a longer output the last ones, where the results stand."""


def capture(target: Path, command: list[str]) -> int:
    """Run ``command``, save its output to ``target`` as SVG, and return its exit code."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
    )
    lines = result.stdout.splitlines()
    kept = lines if len(lines) <= LINES else ["...", *lines[-LINES:]]
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {' '.join(command)}", style="bold"))
        console.print(Text.from_ansi("\n".join(kept)))
        console.save_svg(str(target), title=" ".join(command))
    return result.returncode


if __name__ == "__main__":
    sys.exit(capture(Path(sys.argv[1]), sys.argv[2:]))
