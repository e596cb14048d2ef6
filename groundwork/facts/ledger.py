"""What a role noted down about the things it has put on a host."""

from __future__ import annotations

import re

from pyinfra.api import FactBase, QuoteString, StringCommand
from pyinfra.api.exceptions import FactProcessError
from typing_extensions import override

from groundwork.operations.ledger_items import Item, parse_ledger

FOLDER = "/var/lib/groundwork/ledger"


def ledger_path(role: str) -> str:
    """Where a role's ledger is; ValueError for a name that is no role's (letters, digits, ``_``, ``-``)."""
    if not re.fullmatch(r"[a-z0-9_-]+", role):
        raise ValueError(f"{role!r} is not a role's name")
    return f"{FOLDER}/{role}.json"


class Ledger(FactBase[list[Item]]):
    """The items of one role's ledger, oldest first; an empty list where the host has none."""

    default = list

    @override
    def command(self, role: str) -> StringCommand:
        path = QuoteString(ledger_path(role))
        return StringCommand("! test -e", path, "|| cat --", path)

    @override
    def process(self, output: list[str]) -> list[Item]:
        try:
            return parse_ledger("\n".join(output))
        except ValueError as error:
            raise FactProcessError(str(error)) from error
