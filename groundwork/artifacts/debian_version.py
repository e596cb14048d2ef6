"""The order of Debian versions (deb-version(7)), for controllers without dpkg."""

from __future__ import annotations

import re
from itertools import zip_longest

_PIECES = re.compile(r"([^0-9]*)([0-9]*)")


def _weight(letter: str) -> int:
    """``~`` before the end, the end before letters, letters before anything else."""
    if letter == "~":
        return -1
    if not letter:
        return 0
    return ord(letter) if letter.isalpha() else ord(letter) + 256


def _key(text: str) -> list[tuple[list[int], int]]:
    # The zero stands for the end of the text, which sorts after "~" and before everything else.
    return [
        ([*map(_weight, letters), 0], int(digits or 0))
        for letters, digits in _PIECES.findall(text)
        if letters or digits
    ]


def _compare_part(left: str, right: str) -> int:
    nothing = ([0], 0)
    for one, other in zip_longest(_key(left), _key(right), fillvalue=nothing):
        if one != other:
            return -1 if one < other else 1
    return 0


def compare_versions(left: str, right: str) -> int:
    """-1, 0 or 1 as ``left`` is older than, the same as, or newer than ``right``."""
    for one, other in zip(_split(left), _split(right), strict=True):
        if result := _compare_part(one, other):
            return result
    return 0


def _split(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "")


def is_release(version: str, wanted: str) -> bool:
    """Whether a package's version is ``wanted``, in whole or up to its epoch and Debian revision."""
    plain = version.partition(":")[2] or version
    return version == wanted or plain == wanted or re.match(re.escape(wanted) + r"[-+~]", plain) is not None
