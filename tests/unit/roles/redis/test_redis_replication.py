from __future__ import annotations

from pathlib import Path

import pytest

from roles.redis.onhost import replication
from roles.redis.onhost.replication import DisagreementError, Role, decide_master, remember, write_role
from roles.redis.onhost.settings import Server, Settings

FIRST, SECOND, THIRD = (Server(f"h{n}", f"10.0.0.{n}", 6379, n == 1) for n in (1, 2, 3))
SETTINGS = Settings("redis", (FIRST, SECOND, THIRD), 0, "", "", "", "replication", "")
MASTER: Role = ("master", "")


def follows(server: Server) -> Role:
    return ("slave", str(server))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[Server, Role]:
    found: dict[Server, Role] = {}

    def ask(settings: Settings, server: Server, seconds: float = 2.0) -> Role | None:
        return found.get(server)

    monkeypatch.setattr(replication, "ask_role", ask)
    return found


def test_the_first_start_is_as_declared(answers: dict[Server, Role], tmp_path: Path) -> None:
    assert decide_master(SETTINGS, FIRST, tmp_path / "none") == FIRST
    assert decide_master(SETTINGS, SECOND, tmp_path / "none") == FIRST


def test_a_former_master_follows_the_one_that_took_over(answers: dict[Server, Role], tmp_path: Path) -> None:
    answers |= {SECOND: MASTER, THIRD: follows(SECOND)}
    target, memory = tmp_path / "role", tmp_path / "memory"
    remember(FIRST, memory)
    assert write_role(SETTINGS, FIRST, target, memory) == SECOND
    assert target.read_text() == "replicaof 10.0.0.2 6379\n"
    answers.clear()
    assert decide_master(SETTINGS, FIRST, memory) == SECOND


def test_a_master_that_replicas_wait_for_comes_back_as_master(answers: dict[Server, Role], tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    remember(FIRST, memory)
    answers |= {FIRST: follows(SECOND), THIRD: follows(SECOND)}
    assert write_role(SETTINGS, SECOND, tmp_path / "role", memory) == SECOND
    assert (tmp_path / "role").read_text() == ""


def test_two_masters_are_refused_by_name(answers: dict[Server, Role], tmp_path: Path) -> None:
    answers |= {FIRST: MASTER, SECOND: MASTER}
    with pytest.raises(DisagreementError, match=r"10.0.0.1:6379 and 10.0.0.2:6379"):
        decide_master(SETTINGS, THIRD, tmp_path / "none")


def test_of_two_masters_the_followed_one_counts(answers: dict[Server, Role], tmp_path: Path) -> None:
    answers |= {FIRST: MASTER, SECOND: MASTER, THIRD: follows(SECOND)}
    assert replication.find_master(SETTINGS) == SECOND
    assert replication.list_steps(SETTINGS) == ["10.0.0.1:6379 follows 10.0.0.2:6379"]


def test_a_damaged_memory_is_as_none(answers: dict[Server, Role], tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    for content in ("", "{", '{"master": "10.9.9.9:1"}', "[]"):
        memory.write_text(content)
        assert decide_master(SETTINGS, SECOND, memory) == FIRST
