"""What every command does with its results and errors: stdout for results, stderr for the rest."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from groundwork.problems import Problem, ProblemError

if TYPE_CHECKING:
    from rich.console import Console

ERROR = 1
INTERRUPTED = 130


def make_console(*, stderr: bool = False) -> Console:
    """A rich console that wraps nothing when its output is not a terminal."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, 200)
    return console


def print_json(document: Any) -> None:
    """Print one JSON document on stdout: a pydantic model or plain data."""
    text = document.model_dump_json(indent=2) if hasattr(document, "model_dump_json") else None
    print(text if text is not None else json.dumps(document, indent=2, default=str))


def print_problems(problems: Iterable[Problem], *, as_json: bool = False) -> None:
    """Print every problem: one line each on stderr, or ``{"problems": [...]}`` on stdout."""
    found = list(problems)
    if as_json:
        print_json({"problems": [problem.as_dict() for problem in found]})
        return
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)


def exit_with(code: int) -> NoReturn:
    """End the command with an exit code."""
    import typer

    raise typer.Exit(int(code))


@contextmanager
def report_errors(*, as_json: bool = False, debug: bool = False) -> Iterator[None]:
    """Turn whatever goes wrong inside into a message and exit code 1, never a traceback.

    Every command wraps its body in this. With ``--debug`` (or GROUNDWORK_DEBUG set) the traceback is shown:
    only places in the code, never the values of variables.
    """
    import typer

    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except ProblemError as error:
        print_problems(error.problems, as_json=as_json)
        exit_with(ERROR)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        exit_with(INTERRUPTED)
    except Exception as error:
        if debug or os.environ.get("GROUNDWORK_DEBUG"):
            print("".join(traceback.format_tb(error.__traceback__)), end="", file=sys.stderr)
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        print_problems([Problem(message)], as_json=as_json)
        if not debug:
            print("the same command with --debug shows where it comes from", file=sys.stderr)
        exit_with(ERROR)


def choose_lab(name: str | None) -> None:
    """Let ENV ``lab`` mean the lab of that name, in this process and those it starts."""
    if name:
        os.environ["GROUNDWORK_LAB"] = name
