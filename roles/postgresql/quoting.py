"""Names and texts in SQL and in the access files."""

from __future__ import annotations


def quote_name(name: str) -> str:
    """An SQL identifier. ValueError for a NUL, which no identifier can hold."""
    if "\0" in name or not name:
        raise ValueError(f"{name!r} is no identifier")
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quote_text(text: str) -> str:
    """An SQL literal, whatever ``standard_conforming_strings`` says."""
    if "\0" in text:
        raise ValueError("a text cannot hold a NUL")
    escaped = text.replace("'", "''")
    if "\\" in escaped:
        return " E'" + escaped.replace("\\", "\\\\") + "'"
    return f"'{escaped}'"


def quote_field(text: str) -> str:
    """A field of pg_hba.conf or pg_ident.conf; in quotes it is a name and no keyword such as ``all``."""
    if any(letter in text for letter in '"\n\r\0'):
        raise ValueError(f"{text!r} cannot be in an access file")
    return f'"{text}"'
