from __future__ import annotations

import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roles.agent_runtime.quoting import (
    escape_unit_text,
    format_environment_line,
    format_scalar,
    quote_environment_file,
    quote_unit_assignment,
)

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\ufeff"), max_size=40)


def read_as_systemd(line: str) -> str:
    """The value of one line, by the states of systemd's env-file.c (parse_env_file_internal)."""
    text = line.partition("=")[2]
    value, state, position, last = "", "pre", 0, 0
    while position < len(text):
        letter = text[position]
        position += 1
        if state == "pre":
            if letter in "'\"":
                state = letter
            elif letter == "\\":
                state = "escape"
            elif letter not in " \t":
                state, value = "plain", value + letter
                last = len(value)
        elif state == "plain":
            if letter == "\\":
                state = "escape"
            else:
                value += letter
                last = len(value) if letter not in " \t" else last
        elif state == "escape":
            state, value = "plain", value + letter
            last = len(value)
        elif state == "'":
            state, value = ("pre", value) if letter == "'" else ("'", value + letter)
        elif state == '"':
            if letter == '"':
                state = "pre"
            elif letter == "\\" and position < len(text):
                following = text[position]
                position += 1
                value += following if following in '"\\`$' else letter + following
            else:
                value += letter
    return value[:last] if state == "plain" else value


@given(TEXT)
@example("a'b\"c$d`e\\f")
@example("# not a comment")
@example("  spaces  ")
@example("trailing\\")
@example("$(reboot)`reboot`;reboot")
def test_systemd_reads_back_what_was_written(value: str) -> None:
    line = format_environment_line("KEY", value)
    assert "\n" not in line
    assert read_as_systemd(line) == value


@settings(max_examples=40, deadline=None)
@given(TEXT)
@example("a'b\"c$d`e\\f")
@example("$(reboot)`reboot`;reboot")
def test_a_real_shell_reads_the_same(value: str) -> None:
    script = f'{format_environment_line("KEY", value)}\nprintf %s "$KEY"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() == value


@pytest.mark.parametrize("value", ["a\nB=1", "a\rb", "\0", "a\x1b[0m", "a\u2028b", "a\x85b"])
def test_what_could_begin_another_line_is_refused(value: str) -> None:
    for write in (quote_environment_file, lambda text: quote_unit_assignment("KEY", text)):
        with pytest.raises(ValueError, match="control character"):
            write(value)


@pytest.mark.parametrize("key", ["", "A B", "A=B", "1A", "A\nB", "É"])
def test_names_are_plain(key: str) -> None:
    with pytest.raises(ValueError, match="name of an environment variable"):
        format_environment_line(key, "x")


@given(TEXT)
def test_unit_assignments_stay_one_word_without_specifiers(value: str) -> None:
    written = quote_unit_assignment("KEY", value)
    assert written.startswith('"KEY=')
    assert written.endswith('"')
    body = written[1:-1]
    assert body.replace("%%", "").count("%") == 0
    assert body.replace("\\\\", "").replace('\\"', "").count('"') == 0
    assert body.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\").replace("%%", "%") == f"KEY={value}"


def test_scalars_and_descriptions() -> None:
    assert [format_scalar(v) for v in (True, False, 3, 0.5, "x")] == ["true", "false", "3", "0.5", "x"]
    assert escape_unit_text("100% of\n[Service]\\") == "100%% of [Service]"
