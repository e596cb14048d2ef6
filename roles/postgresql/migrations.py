"""Versioned SQL files of a database: which of them are to run, and the script that runs them once, in order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from groundwork.problems import Problem, ProblemError
from roles.postgresql.quoting import quote_name, quote_text
from roles.postgresql.splitting import SplitError, Statement, split_statements

FILE_NAME = re.compile(r"(\d{4})_[a-z0-9][a-z0-9_]*\.sql")
NO_TRANSACTION = "-- groundwork: no transaction"
COMPLETE = "-- complete"
# Waiting for a lock on a table in use holds up everybody who comes later, too.
LOCK_TIMEOUT = "30s"
LOCK = 7_032_718_045_400
"""Key of the advisory lock (an arbitrary number) under which migrations of one database run."""
_TRANSACTION_WORDS = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"})


@dataclass(frozen=True)
class Migration:
    """One file."""

    path: str
    """As it is shown in messages: folder and name."""
    name: str
    digest: str
    """SHA-256 of its content in hexadecimal."""
    statements: tuple[Statement, ...]
    transactional: bool


def read_migrations(folder: Path, shown: str) -> tuple[Migration, ...]:
    """Return the migrations of a folder in order.

    Raises ProblemError for names that do not fit ``0001_name.sql``, numbers given twice, files that are not text in
    UTF-8 or not SQL that can be split, and statements that would get out of the transaction or the owner's role.
    """
    problems: list[Problem] = []
    found: list[Migration] = []
    numbers: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        name = f"{shown}/{path.name}"
        if path.suffix != ".sql":
            continue
        match = FILE_NAME.fullmatch(path.name)
        if not match:
            problems.append(Problem("is not the name of a migration", name, allowed="0001_name.sql"))
            continue
        other = numbers.setdefault(match[1], path.name)
        if other != path.name:
            problems.append(Problem(f"has the number of {other}", name, given=match[1]))
        try:
            found.append(_read(path, name))
        except ProblemError as error:
            problems += error.problems
    if problems:
        raise ProblemError(problems)
    return tuple(found)


def _read(path: Path, shown: str) -> Migration:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise SplitError(text.count("\n", 0, text.index("\0")) + 1, "a NUL cannot be in SQL")
        statements = tuple(split_statements(text))
    except UnicodeDecodeError:
        raise ProblemError([Problem("is not text in UTF-8", shown)]) from None
    except SplitError as error:
        raise ProblemError([Problem(str(error), shown, error.line)]) from None
    if problems := list(_check_statements(statements, shown)):
        raise ProblemError(problems)
    first = text.lstrip().partition("\n")[0].strip().lower()
    digest = hashlib.sha256(content).hexdigest()
    return Migration(shown, path.name, digest, statements, first != NO_TRANSACTION)


def _check_statements(statements: Sequence[Statement], shown: str) -> Iterator[Problem]:
    for statement in statements:
        words = statement.words
        changes_role = words[:1] in (("SET",), ("RESET",)) and {"ROLE", "AUTHORIZATION", "ALL"} & set(words[1:4])
        if words[:1] and words[0] in _TRANSACTION_WORDS:
            yield Problem("a migration cannot control its own transaction", shown, statement.line, given=words[0])
        elif changes_role or words[:1] == ("DISCARD",):
            yield Problem(
                "a migration runs as the database's owner and stays it", shown, statement.line, given=words[0]
            )
        elif words[:1] == ("COPY",) and "STDIN" in statement.text.upper():
            yield Problem("a migration has no input to copy from", shown, statement.line, allowed="INSERT")


def choose_pending(migrations: Sequence[Migration], applied: Sequence[Sequence[str]]) -> list[Migration]:
    """Return the migrations that are still to run; ``applied`` are names with digests as the database has them.

    Raises ProblemError for applied files that changed since or are gone, and for a new file that would have had to
    run before one that is applied.
    """
    problems: list[Problem] = []
    done = {str(row[0]): str(row[1]) for row in applied}
    known = {migration.name: migration for migration in migrations}
    for name, digest in done.items():
        if name not in known:
            problems.append(Problem("was applied and its file is missing", name))
        elif known[name].digest != digest:
            message = "was changed after it had been applied: put it back and write a new migration"
            problems.append(Problem(message, known[name].path, given=known[name].digest[:12], allowed=digest[:12]))
    last = max((name[:4] for name in done), default="")
    pending = [migration for migration in migrations if migration.name not in done]
    for migration in pending:
        if migration.name[:4] <= last:
            message = f"has a lower number than {last}, which is applied already"
            problems.append(Problem(message, migration.path, allowed="a number above it"))
    if problems:
        raise ProblemError(problems)
    return pending


def build_script(migrations: Sequence[Migration], owner: str) -> str:
    """Return psql's input that runs the migrations: under a lock, each in a transaction of its own, as ``owner``.

    What another run has applied in the meantime is left out. Before each statement it notes on standard error where
    it is, so that the last note before an error names it.
    """
    lines = [
        "SET lock_timeout = '10min';",
        f"SELECT pg_catalog.pg_advisory_lock({LOCK}) \\g /dev/null",
        f"SET lock_timeout = '{LOCK_TIMEOUT}';",
        "SET search_path = public;",
        "SET client_min_messages = warning;",
    ]
    for migration in migrations:
        name = quote_text(migration.name)
        lines += [
            f"SELECT count(*) = 0 AS pending FROM groundwork.migrations WHERE name = {name} \\gset",
            "\\if :pending",
            "SELECT pg_catalog.clock_timestamp() AS began \\gset",
            *(["BEGIN;"] if migration.transactional else []),
            f"SET ROLE {quote_name(owner)};",
        ]
        for statement in migration.statements:
            lines += [f"\\warn groundwork-at {migration.path}:{statement.line}:", f"{statement.text}\n;"]
        seconds = "extract(epoch FROM pg_catalog.clock_timestamp() - :'began'::timestamptz)"
        lines += [
            f"\\warn groundwork-at {migration.path}: while it is recorded:",
            "RESET ROLE;",
            "SET search_path = public;",
            f"INSERT INTO groundwork.migrations (name, digest, seconds)"
            f" VALUES ({name}, {quote_text(migration.digest)}, {seconds});",
            *(["COMMIT;"] if migration.transactional else []),
            "\\endif",
        ]
    return "\n".join([*lines, COMPLETE]) + "\n"
