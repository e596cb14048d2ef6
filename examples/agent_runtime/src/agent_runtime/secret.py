"""Secret values: read from files, never printed."""

from __future__ import annotations

import json
from pathlib import Path

MASK = "***"
# Shorter values would blank out ordinary words in log lines.
SHORTEST_REDACTED = 6
LARGEST_FILE_BYTES = 65536

_known: set[str] = set()


class SecretError(Exception):
    """A secret could not be read; the message never contains its value."""


class Secret:
    """A value that shows itself only through `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= SHORTEST_REDACTED:
            # Log lines are JSON: there a quote or a backslash in a secret looks different.
            _known.update((value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]))

    def reveal(self) -> str:
        """Return the value in clear, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret cannot be serialised")


def read_secret(path: Path) -> Secret:
    """Read a secret from a file, without the line break that editors add at the end.

    Raises:
        SecretError: the file is missing, unreadable, empty, over 64 KiB or not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE_BYTES + 1)
        text = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretError(f"{path}: not UTF-8 text") from None
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from None
    if len(content) > LARGEST_FILE_BYTES:
        raise SecretError(f"{path}: larger than {LARGEST_FILE_BYTES} bytes")
    if not text:
        raise SecretError(f"{path}: empty")
    return Secret(text)


def redact(text: str) -> str:
    """Return the text with every secret that this process has read replaced by `***`."""
    for value in _known:
        if value in text:
            text = text.replace(value, MASK)
    return text
