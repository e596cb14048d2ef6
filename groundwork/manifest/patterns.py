"""Subjects of NATS as patterns: which are well formed, and which of two reaches the other.

``*`` stands for one word, ``>`` for one or more at the end (docs.nats.io, "Subject-Based Messaging").
"""

from __future__ import annotations

import re

INBOX = "_INBOX"
ALLOWED = "words with dots between, * for a word, > for the rest: agent.*.work, config.>"
_LONGEST_SUBJECT = 200
_TOKEN = re.compile(r"[A-Za-z0-9_$:/=-]+|\*")


def judge_subject(subject: str, open_prefixes: tuple[str, ...] = ()) -> str:
    """Say why a subject cannot be given to a group; an empty string when it can.

    ``open_prefixes`` are those below ``$`` that may be named.
    """
    tokens = subject.split(".")
    body = tokens[:-1] if tokens[-1] == ">" else tokens
    if len(subject) > _LONGEST_SUBJECT or not all(_TOKEN.fullmatch(token) for token in body):
        return "is no subject"
    if is_inbox(subject):
        return ""
    if not body or body[0] == "*":
        return "begins with a wildcard and would reach the server's own subjects"
    if body[0] == INBOX:
        return f"is another's inbox; {INBOX}.> stands for the group's own"
    if subject.startswith("$") and not subject.startswith(open_prefixes or ("\0",)):
        return "belongs to the server; declared buckets and streams open what they need"
    return ""


def is_inbox(subject: str) -> bool:
    """Whether a subject of a need stands for the group's own inboxes."""
    return subject == f"{INBOX}.>"


def covers(outer: str, inner: str) -> bool:
    """Whether every subject that ``inner`` matches is matched by ``outer``."""
    wide, narrow = outer.split("."), inner.split(".")
    for position, token in enumerate(wide):
        if token == ">":
            return len(narrow) > position
        if position >= len(narrow) or narrow[position] == ">" or token not in ("*", narrow[position]):
            return False
    return len(narrow) == len(wide)


def overlap(one: str, other: str) -> bool:
    """Whether some subject matches both."""
    first, second = one.split("."), other.split(".")
    for left, right in zip(first, second, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(first) == len(second)
