"""The script that gathers everything a host is asked, and the reading of its answers."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

SECONDS = 10
"""Time for one question; a host whose disk or name server hangs answers the others."""
TIMED_OUT = 124
"""Exit status of timeout(1) where time was up."""

_HEAD = """\
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ask() {
    out=$(timeout SECONDS sh -c "$2" 2>/dev/null </dev/null)
    printf '%s %s ' "$1" "$?"
    printf '%s' "$out" | base64 -w 0
    echo
}
"""


@dataclass(frozen=True)
class Answers:
    """What one host answered, by the name of the question."""

    texts: Mapping[str, str] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Standard output, stripped; empty where the question was not asked or nothing was said."""
        return self.texts.get(name, "")

    def lines(self, name: str) -> list[str]:
        """Standard output's lines that are not empty."""
        return [line for line in self.text(name).splitlines() if line.strip()]

    def ok(self, name: str) -> bool:
        """Whether the question was answered with exit status 0."""
        return self.statuses.get(name) == 0

    def number(self, name: str) -> int:
        """Standard output as a whole number; 0 where it is none."""
        return int(self.text(name)) if re.fullmatch(r"[0-9]+", self.text(name)) else 0


def build_script(questions: Mapping[str, str], seconds: int = SECONDS) -> str:
    """A POSIX shell script that runs every question by itself and prints a line for each.

    A question is a piece of shell that reads and changes nothing, and has so many seconds; names are words without
    blanks.
    """
    lines = [f"ask {shlex.quote(name)} {shlex.quote(question)}" for name, question in questions.items()]
    return _HEAD.replace("SECONDS", str(seconds)) + "\n".join(lines) + "\n"


def parse_answers(output: str) -> Answers:
    """Read what the script printed; lines that are no answers (a banner of the shell) are passed over."""
    texts: dict[str, str] = {}
    statuses: dict[str, int] = {}
    for line in output.splitlines():
        parts = line.split(" ")
        if len(parts) != 3 or not parts[1].isdigit():
            continue
        try:
            texts[parts[0]] = base64.b64decode(parts[2], validate=True).decode(errors="replace").strip()
        except binascii.Error:
            continue
        statuses[parts[0]] = int(parts[1])
    return Answers(texts, statuses)
