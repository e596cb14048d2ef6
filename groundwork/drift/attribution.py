"""Who changed a path, as a host's audit log tells (auditd with watches on it)."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime

MOST = 200
"""Paths that are asked about on one host."""
LATEST = 3
"""Acts that are shown of one path."""


def ask_audit(paths: Iterable[str], since: datetime) -> str:
    """A piece of shell that prints the audit log's events on these paths since a time, as CSV (ausearch(8)).

    Prints nothing where there is no auditd, no log, or no rule that watches a path.
    """
    # ausearch reads dates as the locale C writes them, in the host's time zone.
    start = f"$(date -d @{int(since.timestamp())} '+%m/%d/%y %H:%M:%S')"
    each = [
        f"ausearch --input-logs -f {shlex.quote(path)} -ts {start} --format csv 2>/dev/null | sed 's/^/{number},/'"
        for number, path in enumerate(list(paths)[:MOST])
    ]
    return (
        "command -v ausearch >/dev/null && test -s /var/log/audit/audit.log || exit 0\n" + "\n".join(each) + "\ntrue\n"
    )


def read_audit(output: str, paths: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """By path: what happened to it, as ``TIME USER (as ROOT): ACTION with PROGRAM``, the latest last.

    Columns of ausearch's CSV: node, event, date, time, serial, kind, session, primary subject (who logged in),
    secondary subject (as whom), subject's kind, action, result, primary object, secondary object, object's kind, how.
    """
    listed = list(paths)[:MOST]
    found: dict[str, list[str]] = {}
    for row in csv.reader(io.StringIO(output)):
        if len(row) < 17 or not row[0].isdigit() or row[2] == "EVENT":
            continue
        number, (_, _, date, time, _, _, _, login, account, _, action, result, *rest) = int(row[0]), row[1:]
        if result != "success" or number >= len(listed):
            continue
        user = login if login == account or not account else f"{login} as {account}"
        act = f"{date} {time} {user}: {action} with {rest[3]}"
        acts = found.setdefault(listed[number], [])
        if act not in acts:
            acts.append(act)
    return {path: tuple(acts[-LATEST:]) for path, acts in found.items()}
