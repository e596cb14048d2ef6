from __future__ import annotations

import base64
import json

import pytest
from fake_host import FakeHost, install, list_commands
from pyinfra.api.exceptions import OperationError

from groundwork.facts.ledger import Ledger
from groundwork.operations import ledger
from groundwork.operations.ledger_items import Item

UNIT = Item("unit", "chorus-planner@1.service")
FILE = Item("file", "/etc/groundwork/chorus/planner.env")
OTHER = Item("file", "/etc/groundwork/chorus/gone.env")


def _host(monkeypatch: pytest.MonkeyPatch, recorded: list[Item], diff: bool = False) -> FakeHost:
    return install(monkeypatch, [ledger], {Ledger: recorded}, diff=diff)


def _written(command: object) -> list[str]:
    lines = command.connector_arguments["_stdin"].readlines()  # type: ignore[attr-defined]
    return [item["name"] for item in json.loads(base64.b64decode(lines[0]))["items"]]


def test_begin_notes_the_union_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _host(monkeypatch, [OTHER, FILE])
    commands = list(ledger.begin._inner("chorus", [FILE, UNIT]))
    assert len(commands) == 1
    assert _written(commands[0]) == [OTHER.name, FILE.name, UNIT.name]
    _host(monkeypatch, [OTHER, FILE, UNIT])
    assert list(ledger.begin._inner("chorus", [FILE, UNIT])) == []


def test_finish_does_nothing_where_nothing_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    _host(monkeypatch, [FILE, UNIT])
    assert list(ledger.finish._inner("chorus", [UNIT, FILE])) == []


def test_finish_removes_then_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    _host(monkeypatch, [FILE, OTHER, UNIT])
    commands = list(ledger.finish._inner("chorus", [FILE]))
    texts = list_commands(commands)
    assert UNIT.name in texts[0]
    assert texts[1] == f"rm -f -- {OTHER.name}"
    assert texts[2] == "systemctl daemon-reload"
    assert _written(commands[3]) == [FILE.name]
    assert len(commands) == 4


def test_the_last_item_takes_the_ledger_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _host(monkeypatch, [FILE])
    texts = list_commands(ledger.finish._inner("chorus", []))
    assert texts == [f"rm -f -- {FILE.name}", "rm -f -- /var/lib/groundwork/ledger/chorus.json"]


def test_one_item_outside_stops_all_removal(monkeypatch: pytest.MonkeyPatch) -> None:
    _host(monkeypatch, [FILE, Item("directory", "/var/lib/postgresql")])
    commands = ledger.finish._inner("chorus", [])
    with pytest.raises(OperationError, match="/var/lib/postgresql"):
        next(commands)


def test_the_plan_names_what_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    host = _host(monkeypatch, [FILE, UNIT], diff=True)
    list(ledger.finish._inner("chorus", []))
    assert host.logged == [f"Will remove unit {UNIT.name}", f"Will remove file {FILE.name}"]


@pytest.mark.parametrize("role", ["", "../x", "a/b", "A", "a b"])
def test_a_role_is_no_path(role: str) -> None:
    with pytest.raises(ValueError, match="role"):
        Ledger().command(role)
