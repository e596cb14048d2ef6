from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roles.postgresql.splitting import SplitError, split_statements

PIECES = (
    "SELECT 1", "SELECT ';'", "SELECT 'it''s; fine'", "SELECT E'a\\';b'", 'SELECT ";"', "SELECT $$;$$",
    "SELECT $tag$ $$ ; $tag$", "SELECT (1; 2)", "UPDATE t SET a = 1 -- not; here", "SELECT /* ; /* ; */ ; */ 2",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END",
    "CREATE OR REPLACE FUNCTION g() RETURNS int LANGUAGE plpgsql AS $body$ BEGIN RETURN 1; END $body$",
    "DO $do$ BEGIN PERFORM 1; END $do$", "SELECT a FROM eset WHERE e = 'x'",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from([";", ";\n", " ;\n\n-- between\n", ";/* x */"]))
def test_statements_end_where_they_end(pieces: list[str], separator: str) -> None:
    # A comment to the end of the line would swallow the semicolon.
    written = [f"{piece}\n" if "--" in piece else piece for piece in pieces]
    found = split_statements(separator.join(written) + (separator if pieces else ""))
    assert [one.text.splitlines()[0] for one in found] == [piece.splitlines()[0] for piece in pieces]


@given(st.text(alphabet="ab'\"$;-/*\n()\\ eE1"))
def test_any_text_is_split_without_loss_or_refused(source: str) -> None:
    try:
        found = split_statements(source)
    except SplitError as error:
        assert 1 <= error.line <= source.count("\n") + 1
        return
    position = 0
    for one in found:
        position = source.index(one.text, position) + len(one.text)
        assert one.text.strip()


def test_lines_are_those_of_the_file() -> None:
    source = "-- head\n\nSELECT 1;\n/* long\ncomment */ SELECT\n 2;\n\nSELECT 3"
    assert [(one.line, one.words) for one in split_statements(source)] == [
        (3, ("SELECT",)),
        (5, ("SELECT",)),
        (8, ("SELECT",)),
    ]


@pytest.mark.parametrize(
    ("source", "line"),
    [("SELECT 1;\nSELECT 'open", 2), ("/* open", 1), ("SELECT 1;\n\\! id", 2), ("SELECT $a$ $b$", 1), ('SELECT "', 1)],
)
def test_what_cannot_be_split_is_refused_with_its_line(source: str, line: int) -> None:
    with pytest.raises(SplitError) as caught:
        split_statements(source)
    assert caught.value.line == line
