from __future__ import annotations

import pytest

from groundwork.secrets.declaration import SecretDeclaration
from groundwork.secrets.strength import check_strength
from groundwork.secrets.value import SecretValue


def _messages(text: str, kind: str = "password", minimum: int | None = None) -> list[str]:
    declaration = SecretDeclaration("one", kind, minimum_length=minimum)  # type: ignore[arg-type]
    problems = check_strength(declaration, SecretValue(text))
    for problem in problems:
        assert problem.key == "secrets.one"
        assert len(text) < 4 or text not in str(problem).replace("secrets.one", "")
    return [problem.message for problem in problems]


@pytest.mark.parametrize(
    "text",
    [
        "admin",
        "password",
        "changeme",
        "ai-system-2024",
        "admin/ai-system-2024",
        "redis",
        "postgres",
        "Postgres",
        "Password123!",
        "CHANGEME-2024",
        "admin:admin",
        "postgres/postgres",
        "supersecret",
        "foobared",
    ],
)
@pytest.mark.parametrize("kind", ["password", "provided"])
def test_known_defaults_are_refused_however_short_a_value_may_be(text: str, kind: str) -> None:
    assert "is a well-known default" in _messages(text, kind, minimum=1)


@pytest.mark.parametrize(
    "text", ["a" * 40, "ab" * 20, "abcdefg1abcdefg1abcdefg1", "1234567890123456", "abcdefghijklmnop", "aaaaaaaabbbb"]
)
def test_what_repeats_itself_is_refused(text: str) -> None:
    assert "repeats itself and can be guessed" in _messages(text)


@pytest.mark.parametrize(
    ("kind", "length"), [("jwt", 31), ("password", 11), ("token", 15), ("key", 31), ("provided", 7)]
)
def test_too_short_by_one_is_refused_and_long_enough_is_not(kind: str, length: int) -> None:
    text = "q7Zk2mWx9RtB4vNc8LpD5sGh3JyF6aTe1UoI"
    assert any("too short" in message for message in _messages(text[:length], kind))
    assert _messages(text[: length + 1], kind) == []


def test_no_declaration_lowers_the_floor_of_a_jwt_secret() -> None:
    assert any("too short" in m for m in _messages("q7Zk2mWx9RtB4vNc8LpD5sGh3JyF6aT", "jwt", minimum=8))


def test_a_minimum_of_the_declaration_counts() -> None:
    assert any("too short" in m for m in _messages("q7Zk2mWx9RtB4vNc", "provided", minimum=20))


def test_masks_white_space_and_empty_values_are_refused() -> None:
    assert _messages("*MASKED* and more and more") == ["contains *MASKED*, the mask of another secret"]
    assert "has white space or control characters" in _messages("q7Zk2mWx9RtB 4vNc8")
    assert "is empty" in _messages("")
    assert _messages("-----BEGIN KEY-----\nq7Zk2mWx9RtB4vNc8\n", "provided") == []


def test_ordinary_provided_values_are_accepted() -> None:
    for text in ("https://q7zk2@errors.example.org/7", "SG.q7Zk2mWx.9RtB4vNc8", "redis-q7Zk2mWx9RtB"):
        assert _messages(text, "provided") == []
