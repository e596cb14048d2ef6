"""Calls of pgBackRest: what it is given, and what is told where it fails. A program stands in for it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest

from roles.backup_postgresql.onhost import calls
from roles.backup_postgresql.onhost.settings import Settings

FAKE = """#!/bin/sh
printf '%s\\n' "$@" > {folder}/given
echo '{{}}'
echo 'WARN: option "x" is old' >&2
case $* in *backup) echo 'ERROR: [082]: WAL segment was not archived' >&2; echo 'HINT: look' >&2; exit 82;; esac
case $* in *expire) echo 'killed' >&2; exit 137;; esac
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    program = tmp_path / "pgbackrest"
    program.write_text(FAKE.format(folder=tmp_path))
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setattr(calls, "PROGRAM", str(program))
    values: dict[str, Any] = {
        "platform": "shop", "service": "store", "item": "base", "stanza": "shop-store", "configuration": "/c",
        "account": getpass.getuser(), "state": str(tmp_path), "metrics": "", "daily": 7, "weekly": 4, "monthly": 12,
        "full_every": 0,
    }  # fmt: skip
    return Settings(**values)


def test_the_verb_comes_before_what_it_is_about(settings: Settings, tmp_path: Path) -> None:
    assert calls.call(settings, "repo-ls", "archive/shop-store", "--recurse") == "{}\n"
    given = (tmp_path / "given").read_text().split()
    assert given[:2] == ["--config=/c", "--stanza=shop-store"]
    assert given[-3:] == ["repo-ls", "archive/shop-store", "--recurse"]
    # An answer must not have notes in it.
    assert "--log-level-console=off" in given


def test_an_error_is_told_without_what_was_only_a_warning(settings: Settings) -> None:
    with pytest.raises(calls.CallError) as caught:
        calls.call(settings, "backup")
    assert str(caught.value) == "pgbackrest backup ended with 82: [082]: WAL segment was not archived"


def test_without_an_error_the_last_words_are_told(settings: Settings) -> None:
    with pytest.raises(calls.CallError, match=r"ended with 137: .*killed"):
        calls.call(settings, "expire")
