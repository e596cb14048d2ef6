"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Environment = Annotated[str, typer.Argument(metavar="ENV", help="Name of an inventory: lab for inventories/lab.py.")]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", "-l", help="Only these hosts or groups (comma-separated, patterns allowed)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document; progress goes to stderr.")]
Lab = Annotated[
    str | None, typer.Option("--lab", metavar="NAME", envvar="GROUNDWORK_LAB", help="Which lab ENV lab means.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show everything pyinfra logs.")]
NoSnapshot = Annotated[
    bool, typer.Option("--no-snapshot", help="Ask each fact when it is needed, not those of earlier runs in one go.")
]
Debug = Annotated[
    bool, typer.Option("--debug", envvar="GROUNDWORK_DEBUG", help="Show the traceback of an unexpected error.")
]


def split_limit(given: list[str] | None) -> tuple[str, ...]:
    """The names in ``--limit a,b --limit c``, without blanks."""
    return tuple(name.strip() for item in given or [] for name in item.split(",") if name.strip())
