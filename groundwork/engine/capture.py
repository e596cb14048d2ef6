"""Reads pyinfra's log: errors go to the host they belong to, ``--diff`` lines to the operation."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import click
from pyinfra.api.host import Host
from pyinfra.context import ctx_host

from groundwork.engine.events import LogLine

_ANSI = re.compile(r"\033\[[\d;]*[a-zA-Z]")
_RED, _GREEN = click.style("|", "red").split("|")[0], click.style("|", "green").split("|")[0]

MOST_LINES = 20
"""Lines kept of what a failing command printed: the last ones."""


class LogCapture(logging.Handler):
    """A handler for pyinfra's logger that knows which host a record belongs to.

    pyinfra has no interface for the diffs that ``--diff`` prints, nor for the reason of a failure: both only
    reach its log. Operations and facts run in a greenlet per host, whose context names the host.
    """

    def __init__(self, send: Callable[[LogLine], None], verbose: bool) -> None:
        super().__init__(logging.INFO)
        self._send = send
        self._verbose = verbose
        self._errors: dict[str, list[str]] = {}
        self._diffs: dict[tuple[str, str], list[str]] = {}
        self.keep_diffs = False
        """Whether lines logged inside an operation are its diff (true while a plan is made)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Sort one record in."""
        host: Host | None = ctx_host.get() if ctx_host.isset() else None
        styled = record.getMessage()
        message = _ANSI.sub("", styled)
        if host is None:
            self._pass_on(record, "", message)
            return
        message = message.removeprefix(_ANSI.sub("", host.print_prefix))
        operation = host.current_op_hash
        if record.levelno >= logging.ERROR:
            self._errors.setdefault(host.name, []).append(message.strip())
        elif self.keep_diffs and operation is not None and record.levelno == logging.INFO:
            line = _mark(styled, message)
            if line:
                self._diffs.setdefault((host.name, operation), []).append(line)
            return
        self._pass_on(record, host.name, message)

    def take_errors(self, host: Host) -> str:
        """What was logged as an error on ``host`` since the last call, as one text."""
        lines = self._errors.pop(host.name, [])
        kept = [line for line in lines if line and not line.startswith("Error: executed ")]
        return "\n".join(kept[-MOST_LINES:])

    def take_diff(self, host: Host, operation: str) -> tuple[str, ...]:
        """The diff that an operation (its hash) logged on ``host`` since the last call."""
        return tuple(self._diffs.pop((host.name, operation), ()))

    def _pass_on(self, record: logging.LogRecord, host: str, message: str) -> None:
        if self._verbose or record.levelno >= logging.WARNING:
            self._send(LogLine(level=record.levelname.lower(), host=host, message=message.strip()))


def _mark(styled: str, message: str) -> str:
    """A diff line in plain text: what pyinfra says with a colour alone gets a sign."""
    line = message.rstrip()
    body = line.removeprefix("  ")
    if not body or body.startswith(("+", "-", "@@")):
        return body
    if body.startswith(("mode ", "chown ", "mtime ", "atime ")):
        sign = "-" if _RED in styled else "+" if _GREEN in styled else " "
        return f"{sign} {body}"
    return body if body.startswith(" ") else f"# {body}"
