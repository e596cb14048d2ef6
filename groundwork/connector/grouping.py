"""Finds questions that many facts ask of different things, so that one remote process answers them together.

A command is recognised by its whole text; one that differs anywhere is run as it stands. The remote end (agent.pl) runs
it as it stands, too, where the common answer is not exactly one line (or paragraph) for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

# A word as shlex.quote leaves it, without the characters that programs print in another form.
_WORD = r"(?P<item>/[A-Za-z0-9@%_+=:,./-]*|'/[^'\\\n]*')"
_AGAIN = r"(?P=item)"
_UNIT = r"(?P<item>[A-Za-z0-9@_:.][A-Za-z0-9@_:.-]*\.[a-z]+)"
# Characters that mean themselves in grep's basic expressions and in Perl's alike, and the dot.
_EXPRESSION = r"(?P<item>\^(?:\.\*)?[A-Za-z0-9 _.=,:/@%#;&<>~\"-]+(?:\.\*)?\$)"
_FILE = r"(?P<detail>/[A-Za-z0-9@%_+=:,./-]*)"
MOST_ITEMS = 200
"""Items of one probe: well below what fits on a command line."""


@dataclass(frozen=True)
class _Pattern:
    kind: str
    expression: re.Pattern[str]


_PATTERNS = (
    # pyinfra.facts.files: File, Link, Directory, Socket
    _Pattern(
        "stat",
        re.compile(
            rf"! \(test -e {_WORD} \|\| test -L {_AGAIN} \) \|\| \( stat -c '(?P<detail>[^']*)' {_AGAIN} 2> /dev/null"
            rf" \|\| stat -f '[^']*' {_AGAIN} \|\| ls -ld {_AGAIN} \)"
        ),
    ),
    # pyinfra.facts.files: Sha1File, Sha256File, ...
    _Pattern(
        "sum",
        re.compile(
            rf"test -e {_WORD} && \( (?P<detail>sha1sum|sha256sum|sha384sum|md5sum) {_AGAIN} 2> /dev/null"
            rf"(?: \|\| [a-z0-9 -]+ {_AGAIN} 2> /dev/null)* \) \|\| true"
        ),
    ),
    # pyinfra.facts.files.FileContents, and groundwork.facts.ledger
    _Pattern("content", re.compile(rf"\( test -e {_WORD} && cat {_AGAIN} \) \|\| echo \S.*")),
    _Pattern("content", re.compile(rf"! test -e {_WORD} \|\| cat -- {_AGAIN}")),
    # groundwork.facts.placed_files.PlacedFile
    _Pattern(
        "placed",
        re.compile(
            rf"if test -L {_WORD} ; then echo link; elif test -f {_AGAIN} ; then"
            rf" stat -c '(?P<detail>[^']*)' -- {_AGAIN} &&"
            rf" \{{ sha256sum < {_AGAIN} 2>/dev/null \|\| true; \}}; elif test -e {_AGAIN} ; then echo other; fi"
        ),
    ),
    # pyinfra.facts.files.FindInFile
    _Pattern(
        "find",
        re.compile(
            rf"grep -e '{_EXPRESSION}' {_FILE} 2> /dev/null \|\| \( find (?P=detail) -type f > /dev/null"
            r" && echo __pyinfra_exists_(?P=detail) \|\| true \)"
        ),
    ),
    # pyinfra.facts.server.Users: not many questions, but one that starts a dozen processes for each account.
    _Pattern(
        "users",
        re.compile(
            r"for i in (?P<item>`cat /etc/passwd \| cut -d: -f1`); do\s+"
            r"ENTRY=`grep \^\$i: /etc/passwd`;\s+"
            r"LASTLOG=`\(\(\(lastlog -u \$i \|\| lastlogin \$i\) 2> /dev/null\) \| grep \^\$i \| tr -s ' '\)`;\s+"
            r"PASSWORD=`\(grep \^\$i: /etc/shadow \|\| grep \^\$i: /etc/master\.passwd\) 2> /dev/null"
            r" \| cut -d: -f2`;\s+"
            r'echo "\$ENTRY\|`id -gn \$i`\|`id -Gn \$i`\|\$LASTLOG\|\$PASSWORD";\s+done'
        ),
    ),
    # pyinfra.facts.systemd: SystemdStatus, SystemdEnabled
    _Pattern(
        "units",
        re.compile(
            r"if command -v systemctl >/dev/null 2>&1; then \( systemctl show --all --property Id"
            rf" --property (?P<detail>[A-Za-z]+) {_UNIT} \); else echo '##PYINFRA_NOCMD##'; fi"
        ),
    ),
)

Fields = tuple[str | int, ...]


def recognise(text: str) -> tuple[str, str] | None:
    """The kind of probe that answers a command, and the thing it asks about; None for any other command."""
    for pattern in _PATTERNS:
        found = pattern.expression.fullmatch(text)
        if found:
            detail = found.groupdict().get("detail") or ""
            return f"{pattern.kind} {detail}".rstrip(), found["item"].strip("'")
    return None


def group_requests(
    commands: Iterable[tuple[str, str]], number: Callable[[], int]
) -> tuple[list[Fields], dict[tuple[str, str], int]]:
    """Requests that answer all ``commands`` (shell and text), and the number of each command's answer.

    ``number`` gives a new number each time it is called.
    """
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    singles: list[tuple[str, str]] = []
    for shell, text in commands:
        known = recognise(text) if shell == "sh" else None
        if known is None:
            singles.append((shell, text))
        else:
            groups.setdefault((shell, known[0]), []).append((known[1], text))
    frames: list[Fields] = []
    numbers: dict[tuple[str, str], int] = {}
    for (shell, kind), members in groups.items():
        for part in _parts(members):
            fields: list[str | int] = [0, "probe", kind, shell]
            for item, text in part:
                numbers[shell, text] = number()
                fields += [numbers[shell, text], item, text]
            frames.append(tuple(fields))
    for shell, text in singles:
        numbers[shell, text] = number()
        frames.append((numbers[shell, text], "ahead", shell, text))
    return frames, numbers


def _parts(members: Sequence[tuple[str, str]]) -> Iterable[Sequence[tuple[str, str]]]:
    """The members in parts in which each item occurs once (two commands may ask about one thing), none too long."""
    parts: list[dict[str, tuple[str, str]]] = []
    for item, text in members:
        for part in parts:
            if item not in part and len(part) < MOST_ITEMS:
                part[item] = (item, text)
                break
        else:
            parts.append({item: (item, text)})
    return [list(part.values()) for part in parts]
