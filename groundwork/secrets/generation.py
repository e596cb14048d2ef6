"""Makes up the values of secrets, from the operating system's random source."""

from __future__ import annotations

import secrets
import string
import uuid

from groundwork.secrets.declaration import SecretDeclaration
from groundwork.secrets.value import SecretValue

# Safe in a URL, a shell word, JSON, YAML and the configuration of every service: no quotes, no percent signs.
_FIRST = string.ascii_letters + string.digits
_ALPHABET = _FIRST + "-_"


def _choose_text(length: int) -> str:
    # A value that began with "-" would be an option where a program takes it as an argument.
    return secrets.choice(_FIRST) + "".join(secrets.choice(_ALPHABET) for _ in range(length - 1))


def generate_value(declaration: SecretDeclaration) -> SecretValue:
    """A fresh value of the declared kind and length; ValueError for a ``provided`` secret."""
    match declaration.kind:
        case "password" | "token" | "jwt":
            return SecretValue(_choose_text(declaration.generated_length))
        case "key":
            return SecretValue(secrets.token_hex((declaration.generated_length + 1) // 2))
        case "uuid":
            return SecretValue(str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)))
        case "provided":
            raise ValueError(f"{declaration.name} is provided by the operator")
