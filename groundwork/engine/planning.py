"""Third stage of ``plan``: say for each operation whether it would change something, with its diff.

pyinfra itself reports operations with an ``_if`` as possible changes, because it cannot know what the
operations before will do. Here the conditions are evaluated on the plan: "restart if the configuration
changed" counts when the configuration would change, and only then.
"""

from __future__ import annotations

import inspect
from typing import Any

from pyinfra.api.command import FileUploadCommand, FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import OperationMeta
from pyinfra.api.state import StateOperationHostData
from pyinfra.context import ctx_host

from groundwork.engine.preparing import for_each_host
from groundwork.engine.results import OperationResult, OperationStatus
from groundwork.engine.run import Run

MOST_COMMANDS = 50
LONGEST_COMMAND = 300
READABLE_BY_ALL = 0o004

_would_change: dict[tuple[str, str], OperationStatus] = {}


def plan_operations(run: Run) -> None:
    """Report every prepared operation of every host as unchanged, would change or may change."""
    for_each_host(run, "prepare", lambda host: _plan_host(run, host))


def _plan_host(run: Run, host: Host) -> None:
    for operation in host.op_hash_order:
        data = run.state.ops[host].get(operation)
        if data is None:
            continue
        status = _foresee(data)
        _would_change[host.name, operation] = status
        diff: tuple[str, ...] = ()
        commands: tuple[str, ...] = ()
        if status is not OperationStatus.UNCHANGED:
            diff, commands = _preview(run, host, operation, data)
        run.finish(
            host,
            operation,
            OperationResult(name=run.name_of(operation), status=status, diff=diff, commands=commands),
        )


def _foresee(data: StateOperationHostData) -> OperationStatus:
    if not data.operation_meta._maybe_is_change:
        return OperationStatus.UNCHANGED
    given: Any = data.global_arguments.get("_if") or []
    conditions = given if isinstance(given, list) else [given]
    try:
        holds = all(condition() for condition in conditions)
    except Exception:
        # The condition reads what only a run can tell, for example a command's output.
        return OperationStatus.MAY_CHANGE
    return OperationStatus.WOULD_CHANGE if holds else OperationStatus.UNCHANGED


def answer_from_plan() -> None:
    """Let ``did_change`` and its kin answer for operations that were planned and have not run.

    Call it before any deploy file is loaded: conditions are often the bound method itself.
    """
    run_did_change = OperationMeta.did_change

    def did_change(meta: OperationMeta) -> bool:
        host: Host = ctx_host.get()
        status = _would_change.get((host.name, meta._hash))
        if status is OperationStatus.MAY_CHANGE:
            raise RuntimeError("not known before the run")
        return run_did_change(meta) if status is None else status is OperationStatus.WOULD_CHANGE

    def did_succeed(meta: OperationMeta, _raise_if_not_complete: bool = True) -> bool:
        return True

    def did_error(meta: OperationMeta) -> bool:
        return False

    for replacement in (did_change, did_succeed, did_error):
        setattr(OperationMeta, replacement.__name__, replacement)


def _preview(
    run: Run, host: Host, operation: str, data: StateOperationHostData
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The diff and the commands of an operation that would change something.

    Change detection stops at an operation's first command, which may come before its diff, so the operation
    is asked once more, to its end. Where that fails (it relies on what an earlier operation will have done),
    what the first pass showed stands.
    """
    arguments = _arguments(data)
    first = run.capture.take_diff(host, operation)
    commands: list[str] = []
    try:
        for command in data.command_generator():
            commands.append(_show(command))
            if len(commands) >= MOST_COMMANDS:
                break
        diff = run.capture.take_diff(host, operation)
    except Exception:
        run.capture.take_errors(host)
        diff = run.capture.take_diff(host, operation) or first
    return _veil(diff, arguments), tuple(commands)


def _arguments(data: StateOperationHostData) -> dict[str, Any]:
    """The arguments an operation was called with: pyinfra keeps them only in the generator's closure."""
    captured = inspect.getclosurevars(data.command_generator).nonlocals
    function, args, kwargs = captured.get("func"), captured.get("args", ()), captured.get("kwargs", {})
    if function is None:
        return {}
    bound = inspect.signature(function).bind_partial(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _veil(diff: tuple[str, ...], arguments: dict[str, Any]) -> tuple[str, ...]:
    """The diff without content, where the file is one that not everybody on the host may read."""
    if not _is_private(arguments.get("mode")):
        return diff
    shown = tuple(line for line in diff if line.startswith("#") or line[2:].startswith(("mode ", "chown ")))
    hidden = len(diff) - len(shown)
    return (*shown, "# content not shown: the file is private") if hidden else shown


def _is_private(mode: object) -> bool:
    if isinstance(mode, str) and mode.isdigit():
        return not int(mode[-1]) & READABLE_BY_ALL
    # pyinfra takes a number as it is written in decimal: 644 means rw-r--r--.
    return isinstance(mode, int) and not isinstance(mode, bool) and not int(str(mode)[-1]) & READABLE_BY_ALL


def _show(command: PyinfraCommand) -> str:
    match command:
        case StringCommand():
            text = command.get_masked_value()
        case FileUploadCommand():
            text = f"upload {command.dest}"
        case FunctionCommand():
            text = f"call {command.function.__name__}"
        case _:
            text = type(command).__name__
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_COMMAND else text[: LONGEST_COMMAND - 3] + "..."
