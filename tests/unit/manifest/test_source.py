"""Reading YAML: what is text, what is refused, and where it stood."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundwork.manifest.source import Mark, parse, read
from groundwork.problems import Problem, ProblemError

Find = Callable[[str], Problem]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("12:30", "12:30"),
        ("0644", "0644"),
        ("-0644", "-0644"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1e400", "1e400"),
        ("1.5", 1.5),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("42", 42),
        ("-7", -7),
        ("0", 0),
        ("9" * 30, "9" * 30),
        ('"42"', "42"),
        ("'true'", "true"),
        ("~", None),
        ("null", None),
        ("", None),
        ('"null"', "null"),
        ("=", "="),
    ],
)
def test_plain_words_follow_the_core_schema(written: str, meant: Any) -> None:
    data = parse(f"key: {written}\n", "f").data
    assert data == {"key": meant}
    assert type(data["key"]) is type(meant)


@pytest.mark.parametrize(
    "tag", ["!!python/object:os.system x", "!!str 5", "!!int '5'", "!!set {a}", "!mine [1]", "!!binary aGk="]
)
def test_tags_are_refused(tag: str, parse_problem: Find) -> None:
    problem = parse_problem(f"a: 1\nkey: {tag}\n")
    assert (problem.line, problem.key) == (2, "key")
    assert problem.message == "tags are not supported"
    assert problem.given == tag.split()[0]


def test_duplicate_keys_name_both_lines(parse_problem: Find) -> None:
    problem = parse_problem("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert (problem.file, problem.line, problem.key) == ("f.yaml", 4, "a.b")
    assert "first on line 2" in problem.message


def test_two_duplicates_are_both_reported() -> None:
    with pytest.raises(ProblemError) as caught:
        parse("a: 1\na: 2\nb: {c: 1, c: 2}\n", "f")
    assert [problem.key for problem in caught.value.problems] == ["a", "b.c"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1, 2\nb: 3\n", 2, "is not YAML"),
        ("a: 1\n\tb: 2\n", 2, "is not YAML"),
        ("a: 'open\n", 2, "is not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "single document"),
        ("a: @x\n", 1, "is not YAML"),
        ("a: 1\nb: \x00\n", 2, "control character"),
        ("a: 1\nb: *other\n", 2, "undefined alias"),
        ("- a\n- b\n", 1, "not a mapping"),
        ("only words\n", 1, "not a mapping"),
        ("", 1, "not a mapping"),
        ("# a comment\n", 1, "not a mapping"),
        ("? [a, b]\n: c\n", 1, "not a plain word"),
    ],
)
def test_what_is_not_a_manifest_says_where(text: str, line: int, words: str, parse_problem: Find) -> None:
    problem = parse_problem(text)
    assert words in problem.message
    assert (problem.file, problem.line) == ("f.yaml", line)


def test_an_alias_bomb_is_refused_quickly(parse_problem: Find) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    start = time.monotonic()
    assert "million" in parse_problem("\n".join(lines)).message
    assert time.monotonic() - start < 20


def test_a_recursive_alias_is_refused(parse_problem: Find) -> None:
    problem = parse_problem("a: 1\nb: &b\n  c: *b\n")
    assert problem.message == "aliases form a loop"
    assert problem.key == "b.c"


def test_aliases_copy_values() -> None:
    data = parse("a: &a {x: 1}\nb: *a\n", "f").data
    assert data == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 200_000, "a: " + "[" * 3000 + "]" * 3000, "{a: " * 101 + "1" + "}" * 101]
)
def test_deep_nesting_is_refused(text: str, parse_problem: Find) -> None:
    problem = parse_problem(text)
    assert problem.message == "is nested too deeply"
    assert problem.line == 1


def test_nesting_up_to_the_limit_is_read() -> None:
    assert parse("a: " + "[" * 99 + "]" * 99, "f").data["a"] is not None


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(tmp_path / "f.yaml").data == {"a": 1}


def test_bytes_that_are_no_text_name_their_line(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ProblemError) as caught:
        read(tmp_path / "f.yaml", name="f.yaml")
    assert str(caught.value) == "f.yaml:2: is not text in UTF-8"


def test_a_missing_file_and_a_folder_are_problems(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ProblemError, match="cannot be read"):
            read(path)


def test_a_file_of_ten_megabytes_is_read_or_refused_in_bounded_time(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("a: " + "x" * 10_000_000 + "\n", encoding="utf-8")
    start = time.monotonic()
    assert len(read(tmp_path / "f.yaml").data["a"]) == 10_000_000
    assert time.monotonic() - start < 10


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("a: " + "x" * (16 * 1024 * 1024), encoding="utf-8")
    with pytest.raises(ProblemError, match="too large"):
        read(tmp_path / "f.yaml")


def test_marks_hold_the_line_of_each_key_and_item() -> None:
    source = parse("a:\n  b: 1\n  c:\n    - x\n    - y\n", "f")
    assert source.mark_of(("a", "b")) == Mark("f", 2)
    assert source.mark_of(("a", "c", 1)) == Mark("f", 5)
    assert source.mark_of(("a", "unknown", "deeper")) == Mark("f", 1)


def test_a_problem_is_placed_at_its_key_also_with_dots_and_digits_in_it() -> None:
    source = parse('routes:\n  /v1.0/: a\nhosts:\n  "7": b\n', "f")
    assert source.place(Problem("x", key="routes./v1.0/")).line == 2
    assert source.place(Problem("x", key="hosts.7")).line == 4
    assert source.place(Problem("x", key="routes./v1.0/.agent")).line == 2
    assert source.place(Problem("x", file="other", line=9, key="hosts")).line == 9


def test_what_may_be_a_secret_is_not_repeated(parse_problem: Find) -> None:
    for text in ("password: *hunter2\n", "password: !hunter2 x\n", "secrets:\n  a: {value: !hunter2 x}\n"):
        assert "hunter2" not in str(parse_problem(text))
