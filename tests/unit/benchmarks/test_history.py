"""The recorded history of a table: what it says for a moment, and that it notices what differs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from benchmarks.history import History
from benchmarks.history_writer import build_transaction, choose_change, read_newest


def make_history() -> History:
    """Ten transactions, one each second; at 20 the table went back to after the fourth, and five more followed."""
    lines = [json.dumps({"epoch": 1, "parent": [0, 0], "at": 0.5})]
    lines += [json.dumps({"id": [1, n], "before": n + 0.0, "ack": n + 0.5}) for n in range(1, 11)]
    lines += [json.dumps({"epoch": 2, "parent": [1, 4], "at": 20.0})]
    lines += [json.dumps({"id": [2, n], "before": 20.0 + n, "ack": 20.5 + n}) for n in range(1, 6)]
    return History(lines)


def answer(history: History, place: tuple[int, int]) -> str:
    return json.dumps({"place": list(place), "rows": history.table_at(place)})


def test_a_moment_has_one_place_or_two() -> None:
    history = make_history()
    assert history.places_at(4.7) == [(1, 4)]
    assert history.places_at(5.2) == [(1, 4), (1, 5)]
    assert history.places_at(23.7) == [(2, 3)]


def test_the_table_goes_on_from_where_it_was_put_back() -> None:
    history = make_history()
    table = history.table_at((1, 4))
    for number in (1, 2):
        key, value = choose_change(2, number)
        table.pop(str(key), None)
        if value is not None:
            table[str(key)] = value
    assert history.table_at((2, 2)) == table
    assert history.table_at((0, 0)) == {}


def test_a_right_answer_is_right() -> None:
    history = make_history()
    assert history.judge(answer(history, (2, 3)), 23.7) == ""
    assert history.judge(answer(history, (1, 9)), None) == ""


def test_a_wrong_place_and_a_wrong_row_are_noticed() -> None:
    history = make_history()
    assert "it was [(1, 4)]" in history.judge(answer(history, (1, 5)), 4.7)
    rows = history.table_at((1, 4))
    for damage in ({**rows, next(iter(rows)): "other"}, {**rows, "999": "more"}, dict(list(rows.items())[1:])):
        assert "differs" in history.judge(json.dumps({"place": [1, 4], "rows": damage}), 4.7)


def test_moments_lie_within_an_epoch() -> None:
    history = make_history()
    chance = random.Random(1)
    for _ in range(200):
        moment = history.choose_moment(chance, 3.0)
        assert 3.0 < moment < 25.5
        assert not 10.5 < moment < 21.5
    with pytest.raises(ValueError, match="nothing"):
        history.choose_moment(chance, 100.0)


def test_a_writer_that_is_started_again_begins_a_new_epoch(tmp_path: Path) -> None:
    record = tmp_path / "record"
    assert read_newest(str(record)) == 0
    record.write_text('{"epoch": 4, "parent": [3, 1]}\n{"epoch": 9, "parent": [4, 1]}\n{"id": [9, 1]}\n{"epoch": 1')
    assert read_newest(str(record)) == 9


def test_a_transaction_says_where_it_stands() -> None:
    for number in range(1, 30):
        text = build_transaction(3, number)
        assert text.startswith("BEGIN; ")
        assert f"SET epoch = 3, step = {number}; COMMIT;" in text
