"""Lines of journals: what is read of an entry, what is printed, and what counts once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from groundwork.journals.lines import Line, drop_repeated, merge_lines, read_line


def make_line(monotonic: int, message: str = "m", host: str = "app", boot: str = "b") -> Line:
    return Line(1000.0 + monotonic / 1e6, host, "a.service", "7", 6, message, "", boot, monotonic)


def entry(**fields: Any) -> dict[str, Any]:
    return {"__REALTIME_TIMESTAMP": "1764072000123456", "__MONOTONIC_TIMESTAMP": "5", "_BOOT_ID": "b", **fields}


def test_an_entry_of_a_unit() -> None:
    line = read_line("app", entry(MESSAGE="hello", _SYSTEMD_UNIT="a.service", _PID="12", PRIORITY="3"))
    assert str(line) == "2025-11-25T12:00:00.123Z app a.service[12]: hello"
    assert line.as_dict() == {
        "time": "2025-11-25T12:00:00.123Z",
        "host": "app",
        "unit": "a.service",
        "pid": "12",
        "priority": 3,
        "message": "hello",
        "trace": "",
    }


def test_lines_of_systemd_have_the_unit_that_they_are_about() -> None:
    assert read_line("app", entry(_PID="1", _SYSTEMD_UNIT="init.scope", UNIT="a.service")).unit == "a.service"
    assert read_line("app", entry(SYSLOG_IDENTIFIER="kernel")).unit == "kernel"
    assert read_line("app", entry()).unit == "-"


def test_the_host_is_the_one_whose_store_it_is_whatever_the_line_says() -> None:
    assert read_line("app", entry(_HOSTNAME="data", MESSAGE="m")).host == "app"


def test_traces_are_read_from_json_and_from_the_field() -> None:
    assert read_line("app", entry(MESSAGE='{"trace_id":"abc"}')).trace == "abc"
    assert read_line("app", entry(MESSAGE="m", TRACE_ID="def")).trace == "def"
    for message in ('{"trace_id":5}', '{"trace_id"', "{}", '{"a":', "[1]"):
        assert read_line("app", entry(MESSAGE=message)).trace == ""


def test_what_is_no_text_is_shown_nevertheless() -> None:
    assert read_line("app", entry(MESSAGE=[104, 105, 255])).message == "hi\ufffd"
    assert read_line("app", entry(MESSAGE=["one", "two"])).message == "one"
    assert read_line("app", entry(MESSAGE=None, PRIORITY="x")).message == ""


def test_nothing_in_a_line_can_act_on_a_terminal() -> None:
    printed = str(read_line("app", entry(MESSAGE="a\x1b]0;b\x07c\nd\re\x9bf\tg", _SYSTEMD_UNIT="u\x1b[2J")))
    assert "\\x1b]0;b\\x07c\\nd\\re\\x9bf\tg" in printed
    assert not any(ord(letter) < 32 and letter != "\t" for letter in printed)


def test_what_was_sent_again_counts_once() -> None:
    a, b, c, d = (make_line(n, f"m{n}") for n in range(4))
    assert drop_repeated([[a, b, c, b, c, d]]) == [a, b, c, d]


def test_lines_that_are_alike_are_not_taken_for_one() -> None:
    twice, after = make_line(1, "again"), make_line(2, "m2")
    assert drop_repeated([[twice, twice, after]]) == [twice, twice, after]
    # Nor where both were sent twice.
    assert drop_repeated([[twice, twice, after, twice, twice, after]]) == [twice, twice, after]


def test_several_queries_find_a_line_once() -> None:
    a, b = make_line(1, "a"), make_line(2, "b")
    assert drop_repeated([[a, b], [b]]) == [a, b]


@given(st.lists(st.integers(0, 20), min_size=1).map(sorted), st.data())
def test_no_interruption_loses_a_line(moments: list[int], data: st.DataObject) -> None:
    lines = [make_line(moment, f"m{number}") for number, moment in enumerate(moments)]
    stored: list[Line] = []
    start = 0
    while start < len(lines):
        end = data.draw(st.integers(start, len(lines)))
        stored += lines[start:end]
        start = data.draw(st.integers(start, end)) if end < len(lines) else end
        if end == start and end < len(lines):
            end = start = start + 1
            stored.append(lines[start - 1])
    assert list(dict.fromkeys(drop_repeated([stored]))) == lines


def test_hosts_are_merged_by_time_and_the_newest_are_kept() -> None:
    app = [make_line(1, host="app"), make_line(4, host="app")]
    data = [make_line(2, host="data"), make_line(3, host="data")]
    assert [(one.host, one.monotonic) for one in merge_lines([app, data], 3)] == [("data", 2), ("data", 3), ("app", 4)]
