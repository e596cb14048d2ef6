from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from groundwork.cli import secrets as command
from groundwork.problems import Problem, ProblemError
from groundwork.secrets.declaration import SecretDeclaration
from groundwork.secrets.store import SecretStore
from groundwork.secrets.value import SecretValue

GOOD = "q7Zk2mWx9RtB4vNc8LpD5sGh3JyF6aTe"
DECLARED = [
    SecretDeclaration("jwt_secret", "jwt", description="signs the tokens"),
    SecretDeclaration("redis_api"),
    SecretDeclaration("backup_encryption", "key"),
    SecretDeclaration("mail_key", "provided"),
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecretStore:
    made = SecretStore(tmp_path / "secrets", tmp_path / "lab.agekey")

    def open_environment(environment: str) -> tuple[SecretStore, dict[str, SecretDeclaration]]:
        if environment != "lab":
            raise ProblemError([Problem(f"there is no environment {environment!r}")])
        return made, {one.name: one for one in DECLARED}

    monkeypatch.setattr(command, "_open", open_environment)
    return made


def _run(*arguments: str, given: str | None = None) -> Result:
    result = CliRunner().invoke(command.app, list(arguments), input=given)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _json(*arguments: str, given: str | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_run(*arguments, "--json", given=given).stdout)
    return answer


def test_init_generates_once_and_says_what_is_missing(store: SecretStore) -> None:
    first = _json("init", "lab")
    assert first["created"] == ["jwt_secret", "redis_api", "backup_encryption"]
    assert first["missing"] == ["mail_key"]
    again = _run("init", "lab")
    assert again.exit_code == 0
    assert "made     0 of 4" in again.stdout
    assert "groundwork secrets set lab mail_key" in again.stdout


def test_no_command_shows_a_value(store: SecretStore) -> None:
    told = [_run("init", "lab"), _run("set", "lab", "mail_key", given=GOOD + "\n")]
    values = [secret.value.reveal() for secret in store.read_all().values()]
    told += [_run("list", "lab"), _run("list", "lab", "--json"), _run("rotate", "lab", "--all")]
    told += [_run("rotate", "lab", "--all", "--undo"), _run("set", "lab", "mail_key", given="changeme")]
    values += [secret.value.reveal() for secret in store.read_all().values()]
    assert len(set(values)) == 4
    for result in told:
        assert not any(value in result.output for value in values)


def test_list_says_state_kind_and_age(store: SecretStore) -> None:
    _run("init", "lab")
    rows = {row["name"]: row for row in _json("list", "lab")["secrets"]}
    assert rows["mail_key"]["state"] == "missing"
    assert rows["mail_key"]["days"] is None
    assert (rows["jwt_secret"]["state"], rows["jwt_secret"]["kind"], rows["jwt_secret"]["days"]) == ("set", "jwt", 0)
    assert "signs the tokens" in _run("list", "lab").stdout


def test_list_works_before_init_and_shows_what_is_no_longer_declared(store: SecretStore) -> None:
    assert {row["state"] for row in _json("list", "lab")["secrets"]} == {"missing"}
    _run("init", "lab")
    store.write("old_one", SecretValue(GOOD))
    assert {r["name"]: r["kind"] for r in _json("list", "lab")["secrets"]}["old_one"] == "undeclared"


def test_set_takes_standard_input_without_its_line_end_and_no_argument(store: SecretStore) -> None:
    _run("init", "lab")
    assert _run("set", "lab", "mail_key", given=GOOD + "\n").exit_code == 0
    assert store.read("mail_key").reveal() == GOOD
    assert _run("set", "lab", "mail_key", GOOD).exit_code == 2


@pytest.mark.parametrize(("name", "value", "told"), [
    ("jwt_secret", "short", "32 characters or more"),
    ("redis_api", "changeme", "well-known default"),
    ("mail_key", "", "is empty"),
    ("mail_kye", GOOD, "did you mean mail_key?"),
])  # fmt: skip
def test_what_cannot_be_set_is_refused_and_changes_nothing(
    store: SecretStore, name: str, value: str, told: str
) -> None:
    _run("init", "lab")
    before = {name: one.value for name, one in store.read_all().items()}
    result = _run("set", "lab", name, given=value)
    assert result.exit_code == 1
    assert told in result.stderr
    assert {name: one.value for name, one in store.read_all().items()} == before
    assert _json("set", "lab", name, given=value)["problems"]


def test_rotate_all_leaves_keys_and_provided_secrets(store: SecretStore) -> None:
    _run("init", "lab")
    store.write("mail_key", SecretValue(GOOD))
    before = {name: one.value for name, one in store.read_all().items()}
    assert _json("rotate", "lab", "--all") == {"rotated": ["jwt_secret", "redis_api"]}
    after = {name: one.value for name, one in store.read_all().items()}
    assert {name for name in before if before[name] != after[name]} == {"jwt_secret", "redis_api"}
    assert _json("rotate", "lab", "--undo", "redis_api") == {"put_back": ["redis_api"]}
    assert store.read("redis_api") == before["redis_api"]


def test_rotate_refuses_what_it_cannot_do_before_it_does_anything(store: SecretStore) -> None:
    _run("init", "lab")
    before = store.read("redis_api")
    assert _run("rotate", "lab", "redis_api", "mail_key").exit_code == 1
    assert _run("rotate", "lab", "redis_api", "nothing").exit_code == 1
    assert _run("rotate", "lab").exit_code == 1
    assert _run("rotate", "lab", "redis_api", "--all").exit_code == 1
    assert _run("rotate", "lab", "--undo", "redis_api").exit_code == 1
    assert store.read("redis_api") == before


def test_an_unknown_environment_is_one_line(store: SecretStore) -> None:
    for arguments in (["init"], ["list"], ["set"], ["rotate"]):
        extra = ["x"] if arguments[0] in ("set", "rotate") else []
        result = _run(*arguments, "nowhere", *extra, given="")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
