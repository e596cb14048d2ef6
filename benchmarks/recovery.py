#!/usr/bin/env python3
"""PostgreSQL of a lab is put back to random moments, and lost with its disk: is it right, how long, and what is lost.

    python -m benchmarks.recovery --name LAB [--restores 50] [--seed 7] [--megabytes 0] [--json FILE]

A writer commits one transaction after the other and records each (benchmarks/history_writer.py). Again and again the
database is restored in place to a random moment of everything recorded so far, through the restores before, and the
whole table is compared with the record. Then the server is killed under load and its data folder removed, and all that
was archived is restored. RPO: from the last transaction that is there again to the disaster. RTO: from the disaster to
the first answer that is right. Exit status 2 when a table was not what the record says.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.background import run_on
from benchmarks.history import READ, History
from groundwork.backup import postgresql
from groundwork.manifest.services import PostgresqlService
from groundwork.problems import ProblemError
from groundwork.site import Site, load_site
from groundwork.topology.archives import Archive, list_archives

WRITER, RECORD, UNIT = "/run/history_writer.py", "/run/history.jsonl", "groundwork-history"
PAUSE = 0.01
"""Seconds between two transactions."""
WRITTEN_BETWEEN = 3.0
"""Seconds that are written between two restores, at least."""


@dataclass
class Result:
    """One restore."""

    moment: float | None
    total: float
    """Seconds from the order (or the disaster) to the first right answer."""
    steps: dict[str, float]
    """Seconds of each step on the database's host; what is missing to the total is the replicas and the way there."""
    wrong: str
    lost_seconds: float = 0.0
    lost_transactions: int = 0


@dataclass
class Rehearsal:
    """A lab's database with its writer."""

    lab: str
    site: Site
    archive: Archive
    results: list[Result] = field(default_factory=list)

    @property
    def host(self) -> str:
        """The database's host."""
        return self.archive.database.host

    @property
    def database(self) -> str:
        """The database that is written to."""
        service = self.site.platform.services[self.archive.service]
        assert isinstance(service, PostgresqlService)
        return next(iter(service.databases))

    def run(self, command: str) -> str:
        """Run a line of shell on the database's host."""
        return run_on(self.lab, self.host, command)

    def ask(self, query: str) -> str:
        """Put a question to the database."""
        where = f"host=/var/run/postgresql port={self.archive.database.port} user=postgres dbname={self.database}"
        return self.run(f"cd / && runuser -u postgres -- psql -X -q -A -t -d '{where}' -c \"{query}\"")

    def start(self) -> None:
        """Start the writer, and wait until it writes."""
        source = Path(__file__).with_name("history_writer.py").read_text("utf-8")
        words = f"{RECORD} {self.database} {self.archive.database.port} {PAUSE}"
        self.run(f"cat > {WRITER} <<'END'\n{source}\nEND")
        self.run(f"touch {RECORD}; systemd-run --quiet --unit={UNIT} --collect python3 {WRITER} {words}")
        before = self.count()
        while self.count() < before + 10:
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it."""
        self.run(f"systemctl stop {UNIT} 2>/dev/null || true")

    def count(self) -> int:
        """Transactions on record."""
        return int(self.run(f"grep -c ack {RECORD} || true") or 0)

    def read_history(self) -> History:
        """The record so far."""
        return History(self.run(f"cat {RECORD}").splitlines())

    def go_back(self, chance: random.Random, since: float) -> Result:
        """Restore to a random moment, and compare."""
        time.sleep(chance.uniform(WRITTEN_BETWEEN, 2 * WRITTEN_BETWEEN))
        self.stop()
        history = self.read_history()
        moment = history.choose_moment(chance, since)
        began = time.monotonic()
        state = postgresql.restore(self.site, self.archive, datetime.fromtimestamp(moment, UTC))
        answer = self.ask(READ)
        total = time.monotonic() - began
        return Result(moment, round(total, 2), state["seconds"], history.judge(answer, moment))

    def lose(self) -> Result:
        """Kill the server under load, remove its data, and restore everything that was archived."""
        unit = "postgresql@*-main.service"
        folder = "/var/lib/postgresql/*/main"
        self.run(f"systemctl kill --signal=KILL '{unit}'; systemctl stop '{unit}'; rm -rf {folder}")
        began, lost = time.monotonic(), time.time()
        self.stop()
        state = postgresql.restore(self.site, self.archive, None)
        answer = self.ask(READ)
        total = time.monotonic() - began
        history = self.read_history()
        place = tuple(json.loads(answer)["place"])
        kept = next((n for n, one in enumerate(history.commits) if one.place == place), -1)
        last = history.commits[kept].ack if kept >= 0 else 0.0
        missing = len(history.commits) - 1 - kept
        wrong = history.judge(answer, None)
        return Result(None, round(total, 2), state["seconds"], wrong, round(lost - last, 2), missing)


def fill(rehearsal: Rehearsal, megabytes: int) -> None:
    """Add rows that are hard to compress until so much more lies in the database."""
    rehearsal.ask("CREATE TABLE IF NOT EXISTS groundwork_weight (t text)")
    row = "(SELECT string_agg(md5(random()::text || g), '') FROM generate_series(1, 32) s)"
    for _ in range(0, megabytes, 50):
        rehearsal.ask(f"INSERT INTO groundwork_weight SELECT {row} FROM generate_series(1, 50000) g")


def print_results(results: list[Result], size: int, console: Console) -> None:
    """A row for each kind of restore: medians and the longest."""
    table = Table("", "restores", "equal", "RTO median, s", "longest, s", "RPO, s", "lost", "steps, median s", box=None)
    for title, chosen in (
        ("to a random moment", [one for one in results if one.moment is not None]),
        ("disk lost, everything archived", [one for one in results if one.moment is None]),
    ):
        if not chosen:
            continue
        steps = {step: statistics.median(one.steps[step] for one in chosen) for step in chosen[0].steps}
        table.add_row(
            title,
            str(len(chosen)),
            str(sum(not one.wrong for one in chosen)),
            f"{statistics.median(one.total for one in chosen):.1f}",
            f"{max(one.total for one in chosen):.1f}",
            f"{max(one.lost_seconds for one in chosen):.1f}",
            str(max(one.lost_transactions for one in chosen)),
            ", ".join(f"{step} {seconds:.1f}" for step, seconds in steps.items()),
        )
    console.print(table)
    console.print(f"database: {size >> 20} MiB")
    for one in results:
        if one.wrong:
            console.print(f"wrong: {one.moment}: {one.wrong}", style="red")


def main() -> int:
    """Run it and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--name", required=True, help="the lab")
    parser.add_argument("--restores", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=0, help="weight that the database gets before, in MiB")
    parser.add_argument("--json", type=Path, help="file that takes the figures")
    given = parser.parse_args()
    os.environ["GROUNDWORK_LAB"] = given.name
    console = Console()
    try:
        site = load_site("lab")
        archives = list_archives(site.platform, site.topology)
        if not archives:
            raise RuntimeError("the platform archives no PostgreSQL")
        rehearsal = Rehearsal(given.name, site, archives[0])
        if given.megabytes:
            fill(rehearsal, given.megabytes)
        rehearsal.start()
        postgresql.make_backup(site, archives[0])
        since, chance = time.time(), random.Random(given.seed)
        for number in range(given.restores):
            result = rehearsal.go_back(chance, since)
            rehearsal.results.append(result)
            console.print(f"{number + 1}: {result.total} s {result.wrong or 'equal'}")
            rehearsal.start()
        rehearsal.results.append(rehearsal.lose())
        size = int(rehearsal.ask("SELECT sum(pg_database_size(oid)) FROM pg_database"))
    except (ProblemError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print_results(rehearsal.results, size, console)
    if given.json:
        document: dict[str, Any] = {"database_bytes": size, "results": [vars(one) for one in rehearsal.results]}
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    return 2 if any(one.wrong for one in rehearsal.results) else 0


if __name__ == "__main__":
    sys.exit(main())
