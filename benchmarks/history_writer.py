"""Writes to a table of PostgreSQL, one transaction after the other, and records which were committed and when.

Runs on a database's host as root, standard library only: ``python3 history_writer.py LOG DATABASE PORT PAUSE``. It goes
on through restarts: after each it reads where the table stands, which a restore may have put back. LOG has a line of
JSON for each transaction that was acknowledged, and for each beginning.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from typing import IO, Any

KEYS = 300
"""Rows that are written to, over and over: what a transaction changed is seen only until the next one of its row."""
TABLES = """
CREATE TABLE IF NOT EXISTS groundwork_history (key integer PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS groundwork_position (one boolean PRIMARY KEY DEFAULT true, epoch bigint, step bigint);
INSERT INTO groundwork_position (epoch, step) VALUES (0, 0) ON CONFLICT DO NOTHING;
"""


def choose_change(epoch: int, step: int) -> tuple[int, str | None]:
    """Row and new value (None: it goes) of one transaction; nothing but its epoch and number decides."""
    chance = random.Random(epoch * 1_000_003 + step)
    key = chance.randrange(KEYS)
    if chance.random() < 0.2:
        return key, None
    return key, f"{epoch}-{step}-{chance.getrandbits(128):032x}"


def build_transaction(epoch: int, step: int) -> str:
    """The SQL of one transaction; it also says in the table where the history stands."""
    key, value = choose_change(epoch, step)
    change = f"DELETE FROM groundwork_history WHERE key = {key};"
    if value is not None:
        change = (
            f"INSERT INTO groundwork_history VALUES ({key}, '{value}')"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value;"
        )
    return f"BEGIN; {change} UPDATE groundwork_position SET epoch = {epoch}, step = {step}; COMMIT;"


class Session:
    """A session of psql, to which SQL is given and which answers line by line."""

    def __init__(self, database: str, port: str) -> None:
        where = f"host=/var/run/postgresql port={port} user=postgres dbname={database} connect_timeout=2"
        psql = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", where]
        command = ["runuser", "-u", "postgres", "--", *psql]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/"
        )

    def run(self, text: str) -> list[str]:
        """Run SQL and return its rows. OSError when the session is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{text}\n\\echo done\n")
        self.process.stdin.flush()
        rows: list[str] = []
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise OSError("the session is gone")
            if line == "done\n":
                return rows
            rows.append(line.rstrip("\n"))

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def _note(log: IO[str], **values: Any) -> None:
    log.write(json.dumps(values) + "\n")
    log.flush()


def read_newest(path: str) -> int:
    """The newest epoch on record: the table may have been put back to before it, and no two epochs are one."""
    try:
        with open(path, encoding="utf-8") as log:  # noqa: PTH123
            return max((json.loads(line).get("epoch", 0) for line in log if line.endswith("}\n")), default=0)
    except FileNotFoundError:
        return 0


def write(path: str, database: str, port: str, pause: float) -> None:
    """Write until the process is stopped."""
    newest = read_newest(path)
    with open(path, "a+", encoding="utf-8") as log:  # noqa: PTH123
        # What a writer that was stopped began to write stands alone.
        log.write("\n")
        while True:
            session = Session(database, port)
            try:
                session.run(TABLES)
                position = session.run("SELECT epoch, step FROM groundwork_position;")[0]
                epoch, step = (int(word) for word in position.split("|"))
                newest = max(newest, epoch) + 1
                _note(log, epoch=newest, parent=[epoch, step], at=time.time())
                number = 0
                while True:
                    number += 1
                    before = time.time()
                    session.run(build_transaction(newest, number))
                    _note(log, id=[newest, number], before=before, ack=time.time())
                    time.sleep(pause)
            except (OSError, IndexError, ValueError):
                session.close()
                time.sleep(0.1)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
