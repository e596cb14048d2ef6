"""Refuses values that could be guessed: too short, a known default, or one thing over and over."""

from __future__ import annotations

import re
from itertools import pairwise

from groundwork.problems import Problem
from groundwork.secrets.declaration import SecretDeclaration
from groundwork.secrets.value import MASK, SecretValue

# What installations are found with: names of services and accounts, the words every list of guesses opens
# with, and the defaults of the systems this project was made for.
KNOWN_DEFAULTS = frozenset(
    """
    admin administrator root user guest test demo default public private secret secretkey mysecret jwtsecret
    password passwort passw0rd p@ssw0rd pass pwd letmein welcome qwerty qwertyuiop iloveyou changeme
    changethis changeit replaceme your-secret-key your-jwt-secret yoursecretkey supersecret topsecret
    redis postgres postgresql nats nginx grafana prometheus consul vault minio minioadmin rabbitmq mysql
    mariadb oracle foobared sesame toor raspberry ubuntu debian docker kubernetes
    chorus support ymera ai-system ai-system-2024 aisystem2024 token apikey api-key
    correct-horse-battery-staple
    """.split()  # noqa: SIM905
)
_FEWEST_DISTINCT = 6


def _is_known_default(text: str) -> bool:
    def known(word: str) -> bool:
        # "Password1!" and "changeme-123" are what people make of a default that was refused.
        bare = re.sub(r"[\W\d_]+$", "", word)
        return word in KNOWN_DEFAULTS or bare in KNOWN_DEFAULTS

    lowered = text.lower()
    return known(lowered) or all(known(part) for part in re.split(r"[/:]", lowered))


def _is_repetition(text: str) -> bool:
    """Whether the text is one piece over and over: ``abcabcabc``."""
    return (text + text).find(text, 1) <= len(text) // 2


def _is_run(text: str) -> bool:
    """Whether each character follows the one before it, up or down: ``12345678``, ``zyxwvuts``."""
    # Digits wrap around: 7890 goes on from 9 to 0.
    wrap = 10 if text.isdigit() else 0x110000
    return len({(ord(right) - ord(left)) % wrap for left, right in pairwise(text)}) == 1


def check_strength(declaration: SecretDeclaration, value: SecretValue) -> list[Problem]:
    """Every reason not to use this value, without showing it; an empty list when it will do."""
    text = value.reveal()
    key = f"secrets.{declaration.name}"
    found: list[Problem] = []
    if MASK in text:
        return [Problem(f"contains {MASK}, the mask of another secret", key=key, allowed="the value itself")]
    if len(text) < declaration.shortest:
        found.append(
            Problem(
                f"is too short for a {declaration.kind} secret" if text else "is empty",
                key=key,
                given=f"{len(text)} characters",
                allowed=f"{declaration.shortest} characters or more",
            )
        )
    if text and _is_known_default(text):
        found.append(Problem("is a well-known default", key=key, allowed="a value nobody can look up"))
    elif text and (len(set(text)) < min(_FEWEST_DISTINCT, len(text)) or _is_repetition(text) or _is_run(text)):
        found.append(Problem("repeats itself and can be guessed", key=key, allowed="a random value"))
    if declaration.kind != "provided" and re.search(r"[\s\x00-\x1f\x7f]", text):
        found.append(Problem("has white space or control characters", key=key, allowed="printable characters"))
    elif "\x00" in text:
        found.append(Problem("has a null character", key=key, allowed="text"))
    return found
