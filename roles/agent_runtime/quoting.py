"""Writing values so that systemd, shells and simple readers of environment files all read them alike."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def format_scalar(value: bool | int | float | str) -> str:
    """A value as text: true and false in lower case, as environment files write them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def check_text(value: str) -> str:
    """Return the value, or raise ValueError: a control character could end a line and begin another setting."""
    if any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 or letter in "\u2028\u2029\ufeff" for letter in value):
        raise ValueError("holds a control character or a line end")
    value.encode()
    return value


def quote_environment_file(value: str) -> str:
    """Quote for systemd's EnvironmentFile= that a POSIX shell reads alike (systemd.exec(5), env-file.c).

    Single quotes where they do: within them nothing is special to either, and readers that only strip quotes agree
    too. Raises ValueError for control characters.
    """
    check_text(value)
    if _PLAIN.fullmatch(value):
        return value
    if "'" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def format_environment_line(key: str, value: str) -> str:
    """One line ``KEY=value`` of an environment file. Raises ValueError for a bad name or value."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not the name of an environment variable")
    return f"{key}={quote_environment_file(value)}"


def quote_unit_assignment(key: str, value: str) -> str:
    """Quote ``KEY=value`` for Environment= of a unit: C escapes in double quotes, ``%`` doubled (systemd.syntax(7)).

    Raises ValueError for a bad name or value.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not the name of an environment variable")
    text = check_text(value).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{key}={text}"'


def escape_unit_text(value: str) -> str:
    """Free text for Description=: one line, ``%`` doubled, no continuation."""
    line = " ".join("".join(letter if ord(letter) >= 32 else " " for letter in value).split())
    return line.replace("%", "%%").rstrip("\\")
