"""A secret as the platform declares it, or as the topology derives it: never its value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from groundwork.problems import Problem

SecretKind = Literal["password", "token", "jwt", "key", "uuid", "provided"]
KINDS: tuple[SecretKind, ...] = get_args(SecretKind)

# Characters of a generated value. A password of 32 characters out of 64 has 190 bits, a key of 64 hexadecimal
# digits the 256 bits of AES-256 and HMAC-SHA-256, whose RFC 7518 section 3.2 asks for 32 bytes at least.
_LENGTHS: dict[SecretKind, int] = {"password": 32, "token": 48, "jwt": 64, "key": 64, "uuid": 36, "provided": 0}
# The shortest value accepted from an operator. NIST SP 800-63B asks 8 characters of a memorised secret; what
# only machines type may well be longer.
_SHORTEST: dict[SecretKind, int] = {
    "password": 12,
    "token": 16,
    "jwt": 32,
    "key": 32,
    "uuid": 36,
    "provided": 8,
}
# With fewer characters the signature of a token can be forged by guessing; no declaration may lower it.
JWT_FLOOR = 32
LONGEST_NAME = 80
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


@dataclass(frozen=True)
class SecretDeclaration:
    """One secret: its name, how it is made, and what is accepted for it.

    ``length`` is in characters, for a generated value; ``minimum_length`` in characters, for a value that an
    operator sets. None takes the figures of the kind. ``provided`` secrets cannot be generated.
    """

    name: str
    kind: SecretKind = "password"
    length: int | None = None
    minimum_length: int | None = None
    description: str = ""

    @property
    def is_generated(self) -> bool:
        """Whether a missing value can be made up."""
        return self.kind != "provided"

    @property
    def shortest(self) -> int:
        """The fewest characters accepted."""
        chosen = self.minimum_length if self.minimum_length is not None else _SHORTEST[self.kind]
        return max(chosen, JWT_FLOOR) if self.kind == "jwt" else chosen

    @property
    def generated_length(self) -> int:
        """The characters of a generated value: never fewer than are accepted."""
        return max(self.length or _LENGTHS[self.kind], self.shortest)


class DeclaredSecret(Protocol):
    """A declaration as a manifest holds it, under its name."""

    @property
    def kind(self) -> SecretKind:
        """How it is made."""

    @property
    def length(self) -> int | None:
        """Characters of a generated value."""

    @property
    def minimum_length(self) -> int | None:
        """Shortest value accepted from an operator."""

    @property
    def description(self) -> str:
        """What it is for."""


def name_declarations(declared: Mapping[str, DeclaredSecret]) -> list[SecretDeclaration]:
    """The declarations of a topology (``site.topology.secret_declarations``), each with its name."""
    return [
        SecretDeclaration(name, one.kind, one.length, one.minimum_length, one.description)
        for name, one in declared.items()
    ]


def check_name(name: str) -> Problem | None:
    """The mistake in a secret's name, if there is one: it is a file name in the store as well."""
    if _NAME.fullmatch(name) and len(name) <= LONGEST_NAME:
        return None
    return Problem(
        "not a secret's name",
        key="secrets",
        given=repr(name[:LONGEST_NAME]),
        allowed=f"lower case letters, digits, single - and _ between them, at most {LONGEST_NAME} characters",
    )
