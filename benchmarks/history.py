"""What a table must hold at any moment, from the record of the transactions that were committed to it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.history_writer import choose_change

Place = tuple[int, int]
"""Epoch (a new one begins after each interruption) and number of a transaction."""
READ = (
    "SELECT json_build_object('place', (SELECT json_build_array(epoch, step) FROM groundwork_position),"
    " 'rows', (SELECT coalesce(json_object_agg(key, value), '{}') FROM groundwork_history))"
)
"""SQL that reads the table as ``History.table_at`` gives it."""


@dataclass(frozen=True)
class Commit:
    """One transaction: it was committed between the two moments, in seconds since 1970."""

    place: Place
    before: float
    ack: float


class History:
    """The record of one writer, in the order of time."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.commits: list[Commit] = []
        self.parents: dict[int, Place] = {}
        for line in lines:
            if not line.rstrip().endswith("}"):
                # Torn when the writer was stopped: acknowledged or not, nobody was told.
                continue
            entry = json.loads(line)
            if "epoch" in entry:
                self.parents[entry["epoch"]] = (entry["parent"][0], entry["parent"][1])
            else:
                self.commits.append(Commit((entry["id"][0], entry["id"][1]), entry["before"], entry["ack"]))

    def table_at(self, place: Place) -> dict[str, str]:
        """The table after one transaction: that of its epoch so far, on what the epoch began with."""
        chain: list[Place] = []
        while place[0]:
            chain += [(place[0], number) for number in range(place[1], 0, -1)]
            place = self.parents[place[0]]
        table: dict[str, str] = {}
        for one in reversed(chain):
            key, value = choose_change(*one)
            table.pop(str(key), None)
            if value is not None:
                table[str(key)] = value
        return table

    def places_at(self, moment: float) -> list[Place]:
        """Where the table can stand at a moment: after the last transaction, or also the one that was under way."""
        done = [one for one in self.commits if one.ack <= moment]
        under_way = [one for one in self.commits if one.before <= moment < one.ack]
        return [one.place for one in [*done[-1:], *under_way]]

    def choose_moment(self, chance: random.Random, after: float) -> float:
        """A random moment later than another, between two transactions of one epoch (not while the database was away).

        Raises ValueError when there is none.
        """
        pairs = [
            (one.ack, two.ack)
            for one, two in zip(self.commits, self.commits[1:], strict=False)
            if one.ack > after and one.place[0] == two.place[0]
        ]
        if not pairs:
            raise ValueError("nothing was written since")
        begin, end = chance.choice(pairs)
        return chance.uniform(begin, end)

    def judge(self, answer: str, moment: float | None) -> str:
        """Compare what ``READ`` answered with the history; an empty text where they are equal.

        ``moment`` None: only the table is compared with the place that it names.
        """
        found = json.loads(answer)
        place: Place = (found["place"][0], found["place"][1])
        if moment is not None and place not in (allowed := self.places_at(moment)):
            return f"stands after transaction {place}, at {moment:.6f} it was {allowed}"
        expected = self.table_at(place)
        if found["rows"] != expected:
            keys = sorted(set(found["rows"]) ^ set(expected)) or [
                key for key in expected if found["rows"][key] != expected[key]
            ]
            return f"stands after transaction {place} and differs in {len(keys)} of {len(expected)} rows"
        return ""
