"""Log lines: JSON, one line each, with agent and trace; a file that may be truncated under the writer."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_runtime.logs import LineFormatter, current_agent, current_trace, set_up_logging
from agent_runtime.secret import Secret


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def make_record(message: str, *arguments: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    record = logging.makeLogRecord({"msg": message, "args": arguments, "levelno": level, **extra})
    record.levelname = logging.getLevelName(level)
    return record


def test_line_is_json_with_agent_and_trace() -> None:
    agent, trace = current_agent.set("predictor"), current_trace.set("abc123")
    try:
        line = LineFormatter(True).format(make_record("two\nlines: %s", 7, audit=True, subject="eve"))
    finally:
        current_agent.reset(agent)
        current_trace.reset(trace)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields == {
        "level": "info",
        "agent": "predictor",
        "message": "two\nlines: 7",
        "trace_id": "abc123",
        "audit": True,
        "subject": "eve",
    }


def test_secrets_are_blanked_even_when_json_writes_them_differently() -> None:
    secret = Secret('canary"with\\quotes-é')
    for as_json in (True, False):
        line = LineFormatter(as_json).format(make_record("password %s refused", secret.reveal(), key=secret.reveal()))
        assert "canary" not in line
        assert line.count("***") == 2


def test_priority_for_the_journal() -> None:
    formatter = LineFormatter(True, with_priority=True)
    assert formatter.format(make_record("x", level=logging.ERROR)).startswith('<3>{"time"')
    assert formatter.format(make_record("x", level=logging.DEBUG)).startswith('<7>{"time"')


def test_plain_lines_stay_lines() -> None:
    line = LineFormatter(False).format(make_record("one\ntwo", count=3))
    assert "\n" not in line
    assert line.endswith("info runtime: one\\ntwo count=3")


def test_file_survives_copytruncate(tmp_path: Path, root_logger: logging.Logger) -> None:
    path = tmp_path / "chorus.log"
    path.write_text("from before\n")
    set_up_logging("INFO", True, path)
    root_logger.info("first")
    assert path.read_text().startswith("from before\n")
    with path.open("r+") as stream:  # what logrotate does after it copied the file
        stream.truncate(0)
    root_logger.info("second")
    assert json.loads(path.read_text())["message"] == "second"  # no gap of zero bytes before it
    root_logger.debug("hidden")
    assert "hidden" not in path.read_text()
    assert root_logger.handlers[0].stream is sys.stderr  # type: ignore[attr-defined]
