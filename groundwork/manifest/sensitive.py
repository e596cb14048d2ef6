"""Telling which values may be secrets, so that no message repeats them and none is accepted in a manifest."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORDS = re.compile(
    r"(^|[_-])(passwords?|passwd|passphrase|secrets?|tokens?|api[_-]?key|app[_-]?key|apikey|private[_-]?key|"
    r"access[_-]?key|credentials?|dsn)($|[_-])",
    re.IGNORECASE,
)
# Settings about a secret that are none themselves: TOKEN_TTL, PASSWORD_FILE, secret lengths.
_ABOUT = re.compile(
    r"[_-](file|path|ttl|timeout|interval|days|hours|minutes|seconds|length|limit|count|name|algorithm)$",
    re.IGNORECASE,
)
_URL_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s:]*:[^/@\s]+@", re.IGNORECASE)
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|AGE-SECRET-KEY-")


def is_sensitive(path: Sequence[str | int]) -> bool:
    """Whether the value at ``path`` may be a secret by its name: below ``secrets``, or named like one."""
    words = [str(part) for part in path]
    if words[:1] == ["secrets"] and len(words) > 1:
        return words[-1] != "kind"
    return any(names_secret(word) for word in words[-2:])


def names_secret(name: str) -> bool:
    """Whether a setting called ``name`` holds a secret, such as ``LLM_API_KEY`` or ``jwt_secret``."""
    return bool(_WORDS.search(name)) and not _ABOUT.search(name)


def looks_secret(value: object) -> bool:
    """Whether a value is a secret by its form: a URL with a password, a private key."""
    return isinstance(value, str) and bool(_URL_WITH_PASSWORD.search(value) or _KEY_BLOCK.search(value))
