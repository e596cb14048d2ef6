"""Keeps the values of secrets out of everything the engine says."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "*MASKED*"

SHORTEST = 6
"""Shorter values are not searched for: they would match by chance inside harmless text."""

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)


class Redactor:
    """Replaces known secret values, and private keys, by a mask."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        lines = {line.strip() for value in values for line in value.splitlines()}
        known = sorted((line for line in lines if len(line) >= SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """``text`` with every secret value in it replaced."""
        if "PRIVATE KEY-----" in text:
            text = _PRIVATE_KEY.sub(MASK, text)
        return self._pattern.sub(MASK, text) if self._pattern else text

    def lines(self, lines: Iterable[str]) -> tuple[str, ...]:
        """The same for lines that belong together: a private key may span several of them."""
        return tuple(self("\n".join(lines)).splitlines())
