from __future__ import annotations

import re
import uuid

import pytest

from groundwork.secrets.declaration import KINDS, SecretDeclaration, check_name, name_declarations
from groundwork.secrets.generation import generate_value
from groundwork.secrets.strength import check_strength

GENERATED = [kind for kind in KINDS if kind != "provided"]


@pytest.mark.parametrize("kind", GENERATED)
@pytest.mark.parametrize("length", [None, 16, 33, 200])
def test_generated_values_are_strong_distinct_and_safe_to_embed(kind: str, length: int | None) -> None:
    declaration = SecretDeclaration("one", kind, length)  # type: ignore[arg-type]
    values = {generate_value(declaration).reveal() for _ in range(200)}
    assert len(values) == 200
    for value in values:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value)
        assert len(value) >= declaration.shortest
    assert not any(check_strength(declaration, generate_value(declaration)) for _ in range(200))


@pytest.mark.parametrize(("kind", "length"), [("password", 32), ("token", 48), ("jwt", 64), ("key", 64)])
def test_default_lengths(kind: str, length: int) -> None:
    assert len(generate_value(SecretDeclaration("one", kind)).reveal()) == length  # type: ignore[arg-type]


def test_a_jwt_secret_is_never_shorter_than_32() -> None:
    declaration = SecretDeclaration("one", "jwt", length=16, minimum_length=1)
    assert len(generate_value(declaration).reveal()) == 32


def test_key_is_hexadecimal_and_uuid_is_one() -> None:
    bytes.fromhex(generate_value(SecretDeclaration("one", "key")).reveal())
    assert uuid.UUID(generate_value(SecretDeclaration("one", "uuid")).reveal()).version == 4


def test_a_provided_secret_is_not_made_up() -> None:
    with pytest.raises(ValueError, match="provided"):
        generate_value(SecretDeclaration("one", "provided"))


@pytest.mark.parametrize("name", ["", "A", "a.previous", "../a", "a/b", "-a", "a--b", "1a", "a" * 81, "a\n"])
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    assert check_name(name) is not None


@pytest.mark.parametrize("name", ["a", "redis_api-gateway", "jwt2", "a" * 80])
def test_plain_names_are_accepted(name: str) -> None:
    assert check_name(name) is None


def test_declarations_get_their_names() -> None:
    declared = {"jwt_secret": SecretDeclaration("", "jwt", 40, 36, "signs")}
    assert name_declarations(declared) == [SecretDeclaration("jwt_secret", "jwt", 40, 36, "signs")]
