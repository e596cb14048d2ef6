"""What a database keeps for Groundwork, and which tables have partitions by time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from groundwork.manifest.services import Partitioning
from groundwork.operations.rendering import render_template
from roles.postgresql.quoting import quote_text
from roles.postgresql.splitting import split_statements

_TEXT = render_template("postgresql/definition.sql.j2")
DEFINITION = tuple(statement.text for statement in split_statements(_TEXT))
"""Statements that make the schema ``groundwork``, or bring an older one to this version."""
DEFINITION_DIGEST = f"Groundwork's own, {hashlib.sha256(_TEXT.encode()).hexdigest()[:16]}"


def plan_partitions(declared: Sequence[Partitioning], found: Sequence[Sequence[object]]) -> list[str]:
    """Statements that make the table of partitioned tables say what is declared."""
    wanted = sorted((one.table, one.column, one.interval, one.keep, one.ahead) for one in declared)
    present = sorted(tuple(row) for row in found)
    kept = set(wanted) & set(present)
    statements = [
        f"DELETE FROM groundwork.partitions WHERE relation = {quote_text(str(row[0]))}"
        for row in present
        if row not in kept
    ]
    for row in wanted:
        if row not in kept:
            values = ", ".join(quote_text(value) if isinstance(value, str) else str(value) for value in row)
            statements.append(f"INSERT INTO groundwork.partitions VALUES ({values})")
    return statements
