"""What the options of ``groundwork logs`` mean, and what of them is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from groundwork.journals.question import make_question
from groundwork.problems import ProblemError

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_times_are_durations_before_now_or_iso_8601() -> None:
    question = make_question(since="2h", until="2026-11-25T13:30+02:00", now=NOW)
    assert (question.since, question.until) == (NOW.timestamp() - 7200, NOW.timestamp() - 1800)
    assert make_question(since="15m ago", now=NOW).since == NOW.timestamp() - 900
    assert make_question(since="2026-11-24", now=NOW).since == datetime(2026, 11, 24).astimezone().timestamp()


def test_a_traceparent_is_taken_apart() -> None:
    assert make_question(trace=f"00-{TRACE}-00f067aa0ba902b7-01").trace == TRACE


def test_journalctl_is_told_by_arguments_that_begin_with_their_option() -> None:
    question = make_question(unit="chorus-*", since="1h", grep="--lines=1; rm -rf /", now=NOW)
    assert question.list_queries() == [["--unit=chorus-*", "--since=@1795604400.000000", "--grep=--lines=1; rm -rf /"]]


def test_a_trace_is_looked_for_in_messages_and_as_a_field() -> None:
    in_message, as_field = make_question(trace=TRACE, grep="timeout", unit="a.service").list_queries()
    assert as_field == ["--unit=a.service", "--grep=timeout", f"TRACE_ID={TRACE}"]
    assert in_message[0] == "--unit=a.service"
    assert TRACE in in_message[1]
    assert "(?i:timeout)" in in_message[1]
    assert "(?:Timeout)" in make_question(trace=TRACE, grep="Timeout").list_queries()[0][0]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"since": "yesterday"}, "--since"),
        ({"since": "99999999999w"}, "--since"),
        ({"until": "5"}, "--until"),
        ({"since": "1h", "until": "2h"}, "--until"),
        ({"unit": "a b"}, "--unit"),
        ({"unit": "a\nb"}, "--unit"),
        ({"trace": "x; y"}, "--trace-id"),
        ({"trace": "abc"}, "--trace-id"),
        ({"grep": "a\nb"}, "--grep"),
        ({"lines": 0}, "--lines"),
        ({"lines": 100_001}, "--lines"),
    ],
)
def test_each_mistake_is_told_with_its_option(options: dict[str, object], key: str) -> None:
    with pytest.raises(ProblemError) as refused:
        make_question(**options, now=NOW)  # type: ignore[arg-type]
    assert [problem.key for problem in refused.value.problems] == [key]


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ProblemError) as refused:
        make_question(unit=" ", since="x", trace="y y", lines=-1)
    assert {problem.key for problem in refused.value.problems} == {"--unit", "--since", "--trace-id", "--lines"}
