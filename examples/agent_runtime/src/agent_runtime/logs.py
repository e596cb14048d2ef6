"""JSON log lines for journald and for a log file."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

from agent_runtime.secret import redact

current_agent: ContextVar[str] = ContextVar("current_agent", default="runtime")
current_trace: ContextVar[str | None] = ContextVar("current_trace", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# Syslog priorities that journald reads from a "<n>" prefix (sd-daemon(3)).
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class LineFormatter(logging.Formatter):
    """One line per record, as JSON or as plain text; secrets that were read are blanked out."""

    def __init__(self, as_json: bool, with_priority: bool = False) -> None:
        super().__init__()
        self._as_json = as_json
        self._with_priority = with_priority

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "agent": getattr(record, "agent", None) or current_agent.get(),
            "message": record.getMessage(),
        }
        trace = current_trace.get()
        if trace:
            fields["trace_id"] = trace
        for key, value in vars(record).items():
            if key not in _STANDARD and key not in fields and not key.startswith("_"):
                fields[key] = value
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if self._as_json:
            line = json.dumps(fields, default=str, ensure_ascii=False, separators=(",", ":"))
        else:
            extras = [f"{key}={value}" for key, value in fields.items() if key not in _PLAIN]
            shown = " ".join([str(fields["message"]), *extras])
            line = f"{fields['time']} {fields['level']} {fields['agent']}: {shown}".replace("\n", "\\n")
        line = redact(line)
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{line}" if self._with_priority else line


_PLAIN = ("time", "level", "agent", "message")


def is_journal(stream: TextIO) -> bool:
    """Tell whether a stream is the journal's own, from the device and inode that systemd gives."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def set_up_logging(level: str, as_json: bool, file: Path | None) -> None:
    """Send every record to standard error, and to a file if one is given.

    The file is opened for appending and never rotated here: the host's logrotate copies and truncates it, and
    because of O_APPEND the next line then starts at the new end.

    Raises:
        OSError: the log file cannot be opened.
    """
    root = logging.getLogger()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(LineFormatter(as_json, is_journal(sys.stderr)))
    if file is not None:
        handlers.append(logging.FileHandler(file, mode="a", encoding="utf-8"))
        handlers[1].setFormatter(LineFormatter(as_json))
    for old in list(root.handlers):
        root.removeHandler(old)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    # uvicorn reports each start and stop of each agent's server; the launcher says the same once.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
