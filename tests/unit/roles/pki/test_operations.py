from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from groundwork.authority.questions import HostCertificates
from groundwork.authority.records import read_issued
from groundwork.authority.store import AuthorityStore
from groundwork.secrets.store import SecretStore
from groundwork.topology.accounts import ROOT, SERVICE_USERS, SystemUser, group_user
from groundwork.topology.model import Identity
from roles.pki import operations
from roles.pki.facts import Certificates, PresentUsers, Requests

IDENTITY = Identity("redis-1", "data", ("data",), ("10.0.0.2",), "spiffe://lab/c/redis-1", "redis", ROOT)


class FakeHost:
    name = "data"

    def __init__(self, facts: dict[type, Any]) -> None:
        self.facts = facts
        self.told: list[str] = []

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        return self.facts[fact]

    def noop(self, text: str) -> None:
        self.told.append(text)

    def log(self, text: str, log: Any = None) -> None:
        self.told.append(text)


@pytest.fixture
def store(tmp_path: Path) -> AuthorityStore:
    secrets = SecretStore(tmp_path / "secrets", tmp_path / "lab.agekey")
    secrets.initialise()
    made = AuthorityStore(secrets.folder / "authority", secrets, "lab")
    made.initialise()
    return made


def run(
    monkeypatch: pytest.MonkeyPatch, operation: Any, facts: dict[type, Any], executing: bool, **arguments: Any
) -> tuple[list[str], list[str]]:
    fake = FakeHost(facts)
    monkeypatch.setattr(operations, "host", fake)
    monkeypatch.setattr(operations, "state", SimpleNamespace(is_executing=executing, config=SimpleNamespace(DIFF=True)))
    return [command.get_masked_value() for command in operation._inner(**arguments)], fake.told


def issue(monkeypatch: pytest.MonkeyPatch, store: AuthorityStore, facts: dict[type, Any], executing: bool) -> Any:
    arguments = {"authority": store, "platform": "c", "identities": [IDENTITY]}
    return run(monkeypatch, operations.certificates, facts, executing, **arguments)


def test_a_plan_says_what_it_would_issue_and_signs_nothing(
    monkeypatch: pytest.MonkeyPatch, store: AuthorityStore
) -> None:
    commands, told = issue(monkeypatch, store, {Certificates: HostCertificates()}, executing=False)
    assert commands == [": request redis-1; base64 -d | sh"]
    assert told == ["Will issue a certificate for redis-1 (absent)"]
    assert read_issued(store.folder) == []


def test_a_host_that_makes_no_request_fails(monkeypatch: pytest.MonkeyPatch, store: AuthorityStore) -> None:
    with pytest.raises(OperationError, match="made no request for redis-1"):
        issue(monkeypatch, store, {Certificates: HostCertificates(), Requests: {}}, executing=True)
    with pytest.raises(OperationError, match="no certificate request"):
        issue(monkeypatch, store, {Certificates: HostCertificates(), Requests: {"redis-1": "x"}}, executing=True)
    assert read_issued(store.folder) == []


@pytest.mark.parametrize("executing", [True, False])
def test_a_clock_a_day_off_fails_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, store: AuthorityStore, executing: bool
) -> None:
    facts: dict[type, Any] = {Certificates: HostCertificates(time.time() - 86400)}
    with pytest.raises(OperationError, match="clock is 24 hours behind"):
        issue(monkeypatch, store, facts, executing)


def test_only_missing_users_are_created(monkeypatch: pytest.MonkeyPatch) -> None:
    users = [SERVICE_USERS["redis"], SERVICE_USERS["postgresql"], SystemUser("chorus-a")]
    commands, _ = run(monkeypatch, operations.users, {PresentUsers: {"redis"}}, True, users=users)
    assert [command.split("-- ")[-1] for command in commands] == ["postgres", "chorus-a"]
    assert "--home-dir /var/lib/postgresql --shell /bin/bash" in commands[0]
    commands, told = run(
        monkeypatch, operations.users, {PresentUsers: {"redis", "postgres", "chorus-a"}}, True, users=users
    )
    assert (commands, told) == ([], ["every user is there"])
    assert run(monkeypatch, operations.users, {}, True, users=[])[0] == []


def test_names_of_users_fit_and_stay_apart() -> None:
    long = [group_user("a-platform-with-a-name", f"group-number-{number}").name for number in range(20)]
    assert len(set(long)) == 20
    assert max(map(len, long)) == 32
    assert group_user("chorus", "prediction").name == "chorus-prediction"


def test_the_present_users_are_read_from_passwd() -> None:
    assert PresentUsers().process(["redis:x:999:997::/var/lib/redis:/usr/sbin/nologin"]) == {"redis"}
    assert PresentUsers().process([]) == set()
