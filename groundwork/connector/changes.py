"""Counts what a run may have changed, on any host: answers from before do not count any more."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from pyinfra.api.command import (
    FileDownloadCommand,
    FileUploadCommand,
    FunctionCommand,
    PyinfraCommand,
    RsyncCommand,
    StringCommand,
)
from pyinfra.api.state import State

_counts: WeakKeyDictionary[State, int] = WeakKeyDictionary()
_COMMANDS: tuple[type[PyinfraCommand], ...] = (
    StringCommand,
    FileUploadCommand,
    FileDownloadCommand,
    FunctionCommand,
    RsyncCommand,
)
_watching = False


def note_change(state: State) -> None:
    """Say that something that may change a host begins, or has ended.

    It counts for every host of the run: joining a cluster on one host changes what the others say.
    """
    _counts[state] = _counts.get(state, 0) + 1


def count_changes(state: State) -> int:
    """How often ``note_change`` was called for this run."""
    return _counts.get(state, 0)


def watch_commands() -> None:
    """Have every command of every operation counted, also those of other connectors and Python functions.

    pyinfra has no hook for them, so the commands' ``execute`` is wrapped, once.
    """
    global _watching
    if not _watching:
        _watching = True
        for command in _COMMANDS:
            _wrap(command)


def _wrap(command: type[PyinfraCommand]) -> None:
    original = command.execute

    def execute(self: PyinfraCommand, state: State, host: Any, connector_arguments: Any) -> Any:
        note_change(state)
        try:
            return original(self, state, host, connector_arguments)
        finally:
            note_change(state)

    command.execute = execute  # type: ignore[method-assign]
