from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from groundwork.problems import ProblemError
from roles.postgresql.migrations import COMPLETE, build_script, choose_pending, read_migrations


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text)
    return folder


def problems_of(folder: Path) -> str:
    with pytest.raises(ProblemError) as caught:
        read_migrations(folder, "db")
    return str(caught.value)


def test_they_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write(tmp_path, **{"0010_c": "SELECT 3", "0002_b": "SELECT 2", "0001_a": "SELECT 1"})
    (tmp_path / "README").write_text("not SQL")
    found = read_migrations(tmp_path, "db")
    assert [one.name for one in found] == ["0001_a.sql", "0002_b.sql", "0010_c.sql"]
    assert found[0].digest == hashlib.sha256(b"SELECT 1").hexdigest()
    assert all(one.transactional for one in found)


def test_every_wrong_file_is_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, **{"1_short": "SELECT 1", "0001_a": "SELECT 1", "0001_b": "SELECT 1", "0002_open": "SELECT 'x"})
    (tmp_path / "0003_bytes.sql").write_bytes(b"SELECT '\xff'")
    told = problems_of(tmp_path)
    assert "db/1_short.sql" in told
    assert "has the number of 0001_a.sql" in told
    assert "db/0002_open.sql:1" in told
    assert "is not text in UTF-8" in told


@pytest.mark.parametrize(
    "statement",
    ["COMMIT", "begin", "ROLLBACK", "Set Role postgres", "SET LOCAL ROLE x", "RESET ROLE", "reset all",
     "SET SESSION AUTHORIZATION postgres", "DISCARD ALL", "COPY t FROM STDIN", "START TRANSACTION", "\\! id"],
)  # fmt: skip
def test_nothing_leaves_its_transaction_or_its_role(tmp_path: Path, statement: str) -> None:
    write(tmp_path, **{"0001_a": f"SELECT 1;\n{statement};\n"})
    assert "db/0001_a.sql:2" in problems_of(tmp_path)


def test_a_column_called_role_is_fine(tmp_path: Path) -> None:
    text = "CREATE TABLE staff (role text);\nUPDATE staff SET role = 'x';\nALTER TABLE staff ALTER role SET NOT NULL;"
    write(tmp_path, **{"0001_a": text})
    assert len(read_migrations(tmp_path, "db")[0].statements) == 3


def test_only_what_is_new_is_pending(tmp_path: Path) -> None:
    found = read_migrations(write(tmp_path, **{"0001_a": "SELECT 1", "0002_b": "SELECT 2"}), "db")
    assert choose_pending(found, []) == list(found)
    assert choose_pending(found, [[found[0].name, found[0].digest]]) == [found[1]]
    assert choose_pending(found, [[one.name, one.digest] for one in found]) == []


def test_history_cannot_be_rewritten(tmp_path: Path) -> None:
    found = read_migrations(write(tmp_path, **{"0001_a": "SELECT 1", "0002_b": "SELECT 2"}), "db")
    applied = [["0001_a.sql", "0" * 64], ["0003_c.sql", "1" * 64]]
    with pytest.raises(ProblemError) as caught:
        choose_pending(found, applied)
    told = str(caught.value)
    assert "db/0001_a.sql: was changed after it had been applied" in told
    assert "0003_c.sql: was applied and its file is missing" in told
    assert "db/0002_b.sql: has a lower number than 0003" in told


def test_each_runs_in_its_own_transaction_as_the_owner(tmp_path: Path) -> None:
    files = {"0001_a": "SELECT 1", "0002_b": "-- groundwork: no transaction\nCREATE INDEX CONCURRENTLY i ON t (x)"}
    script = build_script(read_migrations(write(tmp_path, **files), "db"), 'o"wner')
    lines = script.splitlines()
    assert [lines.count(word) for word in ("BEGIN;", "COMMIT;", 'SET ROLE "o""wner";', "RESET ROLE;")] == [1, 1, 2, 2]
    assert lines.index("BEGIN;") < lines.index("SELECT 1") < lines.index("COMMIT;")
    assert lines.index("COMMIT;") < lines.index("CREATE INDEX CONCURRENTLY i ON t (x)")
    assert "\\warn groundwork-at db/0002_b.sql:2:" in lines
    assert lines[-1] == COMPLETE
    assert "pg_advisory_lock" in lines[1]
