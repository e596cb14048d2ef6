from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pyrage
import pytest

from groundwork.problems import ProblemError
from groundwork.secrets.declaration import SecretDeclaration
from groundwork.secrets.store import RECIPIENTS, SecretStore
from groundwork.secrets.value import SecretValue

DECLARED = [
    SecretDeclaration("jwt_secret", "jwt"),
    SecretDeclaration("redis_api", "password"),
    SecretDeclaration("mail_key", "provided"),
]
GOOD = "q7Zk2mWx9RtB4vNc8LpD5sGh3JyF6aTe"


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    made = SecretStore(tmp_path / "repository" / "secrets", tmp_path / "keys" / "lab.agekey")
    made.initialise()
    return made


def _again(store: SecretStore) -> SecretStore:
    return SecretStore(store.folder, store.key_file)


def test_key_and_folder_are_made_once_and_kept(store: SecretStore) -> None:
    assert store.key_file.stat().st_mode & 0o777 == 0o600
    assert store.key_file.parent.stat().st_mode & 0o077 == 0
    text = store.key_file.read_text()
    public = _again(store).initialise()
    assert store.key_file.read_text() == text
    assert public in (store.folder / RECIPIENTS).read_text()
    assert "AGE-SECRET-KEY" not in (store.folder / RECIPIENTS).read_text()


def test_ensure_generates_once_and_says_what_to_set(store: SecretStore) -> None:
    first = store.ensure(DECLARED)
    assert set(first.created) == {"jwt_secret", "redis_api"}
    assert first.absent == ("mail_key",)
    assert [str(p) for p in first.problems] == [
        "secrets.mail_key: has no value (allowed: set it: groundwork secrets set ENV mail_key)"
    ]
    store.write("mail_key", SecretValue(GOOD))
    second = _again(store).ensure(DECLARED)
    assert (second.created, second.absent, second.problems) == ((), (), ())
    assert second.values["jwt_secret"] == first.values["jwt_secret"]
    assert second.values["mail_key"].reveal() == GOOD


def test_ensure_reports_a_stored_value_that_is_weak(store: SecretStore) -> None:
    store.write("redis_api", SecretValue("changeme"))
    problems = store.ensure(DECLARED).problems
    assert any(p.key == "secrets.redis_api" and "default" in p.message for p in problems)


def test_files_hold_no_value_in_the_clear_and_are_for_the_owner(store: SecretStore) -> None:
    store.write("redis_api", SecretValue(GOOD))
    for path in store.folder.glob("*.age"):
        assert GOOD.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in store.folder.iterdir()) == [RECIPIENTS, "redis_api.age"]


def test_a_change_keeps_the_previous_value_and_can_be_undone(store: SecretStore) -> None:
    for value in ("first-q7Zk2mWx9", "second-q7Zk2mWx9", "third-q7Zk2mWx9"):
        store.write("redis_api", SecretValue(value))
    assert store.has_previous("redis_api")
    assert store.names() == ["redis_api"]
    store.restore_previous("redis_api")
    assert store.read("redis_api").reveal() == "second-q7Zk2mWx9"
    store.restore_previous("redis_api")
    assert store.read("redis_api").reveal() == "third-q7Zk2mWx9"


def test_values_of_any_text_survive(store: SecretStore) -> None:
    for text in ("a'b\"c$d\\e", "line one\nline two\n", "å 秘密", " blanks "):
        store.write("odd", SecretValue(text))
        assert _again(store).read("odd").reveal() == text


def test_every_recipient_can_open_what_is_written(store: SecretStore, tmp_path: Path) -> None:
    other = pyrage.x25519.Identity.generate()
    with (store.folder / RECIPIENTS).open("a") as file:
        file.write(f"# a colleague\n{other.to_public()}\n")
    store.write("redis_api", SecretValue(GOOD))
    key = tmp_path / "other.agekey"
    key.touch(0o600)
    key.write_text(f"{other}\n")
    assert SecretStore(store.folder, key).read("redis_api").reveal() == GOOD


def _refused(store: SecretStore, name: str = "redis_api") -> str:
    with pytest.raises(ProblemError) as caught:
        store.read(name)
    assert len(caught.value.problems) == 1
    assert GOOD not in str(caught.value)
    return str(caught.value)


def test_wrong_key_damage_exchange_and_absence_are_one_clear_error_each(store: SecretStore, tmp_path: Path) -> None:
    store.write("redis_api", SecretValue(GOOD))
    store.write("redis_web", SecretValue(GOOD + "2"))
    stranger = SecretStore(tmp_path / "elsewhere", tmp_path / "keys" / "stranger.agekey")
    stranger.initialise()
    assert "cannot be decrypted" in _refused(SecretStore(store.folder, stranger.key_file))
    assert "has no value" in _refused(store, "nothing_here")
    path = store.folder / "redis_api.age"
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole.replace(b"A", b"B"), os.urandom(300)):
        path.write_bytes(damaged)
        assert "cannot be decrypted" in _refused(store)
    shutil.copy(store.folder / "redis_web.age", path)
    assert "another secret's file" in _refused(store)


def test_all_that_cannot_be_opened_is_named_at_once(store: SecretStore) -> None:
    with pytest.raises(ProblemError) as caught:
        store.read_all(["one", "two"])
    assert [p.key for p in caught.value.problems] == ["secrets.one", "secrets.two"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(store: SecretStore, mode: int) -> None:
    store.write("redis_api", SecretValue(GOOD))
    store.key_file.chmod(mode)
    assert "others can read" in _refused(_again(store))


def test_a_key_inside_the_repository_is_refused_and_not_made(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    inside = SecretStore(tmp_path / "secrets", tmp_path / "keys" / "lab.agekey")
    with pytest.raises(ProblemError, match="inside the repository"):
        inside.initialise()
    assert not (tmp_path / "keys").exists()


def test_a_missing_or_senseless_key_is_refused(store: SecretStore, tmp_path: Path) -> None:
    store.write("redis_api", SecretValue(GOOD))
    assert "key that opens the secrets is missing" in _refused(SecretStore(store.folder, tmp_path / "none"))
    store.key_file.write_text("hello\n")
    assert "no age key file" in _refused(_again(store))


def test_a_folder_of_somebody_else_is_not_taken_over(store: SecretStore, tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="does not belong"):
        SecretStore(store.folder, tmp_path / "mine.agekey").initialise()


def test_nothing_is_made_in_a_folder_that_was_not_initialised(tmp_path: Path) -> None:
    bare = SecretStore(tmp_path / "none", tmp_path / "none.agekey")
    with pytest.raises(ProblemError, match="groundwork secrets init"):
        bare.ensure(DECLARED)
    assert list(tmp_path.iterdir()) == []


def test_a_name_cannot_leave_the_folder(store: SecretStore) -> None:
    for name in ("../outside", "a/b", "x.previous"):
        with pytest.raises(ProblemError, match="not a secret's name"):
            store.write(name, SecretValue(GOOD))
        with pytest.raises(ProblemError, match="not a secret's name"):
            store.read(name)


def test_two_runs_at_once_agree_on_one_value(store: SecretStore) -> None:
    seen: list[str] = []

    def run() -> None:
        seen.append(_again(store).ensure(DECLARED).values["redis_api"].reveal())

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert len(set(seen)) == 1


def test_a_failed_write_leaves_the_old_value_and_no_litter(store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("redis_api", SecretValue(GOOD))
    before = sorted(store.folder.iterdir())

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        store.write("redis_api", SecretValue(GOOD + "2"))
    assert sorted(store.folder.iterdir()) == before
    assert store.read("redis_api").reveal() == GOOD


def test_a_hundred_secrets_open_within_a_second(store: SecretStore) -> None:
    store.ensure([SecretDeclaration(f"secret_{number}") for number in range(100)])
    begun = time.monotonic()
    assert len(_again(store).read_all()) == 100
    assert time.monotonic() - begun < 1.0
