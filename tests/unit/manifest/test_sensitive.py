"""Telling secrets by name and form."""

from __future__ import annotations

import pytest

from groundwork.manifest.sensitive import is_sensitive, looks_secret, names_secret


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "REDIS_PASSWORD",
        "jwt_secret",
        "LLM_API_KEY",
        "api-key",
        "SENTRY_DSN",
        "ACCESS_TOKEN",
        "private_key",
        "DATADOG_APP_KEY",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)
    assert is_sensitive(("groups", "a", "environment", name))


@pytest.mark.parametrize(
    "name", ["MODE", "TOKEN_TTL", "PASSWORD_FILE", "MAX_TOKENIZER", "keys", "port", "secretary", "tasks_max"]
)
def test_names_of_other_settings(name: str) -> None:
    assert not names_secret(name)


def test_all_below_secrets_is_sensitive_but_the_kind() -> None:
    assert is_sensitive(("secrets", "webhook"))
    assert is_sensitive(("secrets", "webhook", "value"))
    assert not is_sensitive(("secrets", "webhook", "kind"))
    assert is_sensitive(("secrets",))


def test_forms_of_secrets() -> None:
    assert looks_secret("postgresql://user:word@host/db")
    assert looks_secret("redis://:word@host:6379")
    assert looks_secret("-----BEGIN RSA PRIVATE KEY-----\nabc")
    assert not looks_secret("https://host:8443/path@x")
    assert not looks_secret("postgresql://user@host/db")
    assert not looks_secret(5)
