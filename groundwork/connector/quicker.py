"""Some of pyinfra's functions, with the same results in a fraction of the time.

Each operation of each host calls them: the first reads source files to learn line numbers that the frames have anyway,
the second evaluates the same type annotations anew; with 10 hosts and 90 operations these two took half of the
controller's time. Of what was left, a tenth looked up forty host data that nobody has, each by four exceptions, and a
twentieth split the same commands into words.
"""

from __future__ import annotations

import shlex
import sys
from copy import copy
from functools import cache
from importlib import import_module
from types import FrameType, SimpleNamespace
from typing import Any

import pyinfra
from pyinfra.api import arguments, command, util
from pyinfra.api.host import HostData
from pyinfra.api.state import State

_done = False


def make_quicker() -> None:
    """Put them in place, once; a pyinfra that has one of them no more is left as it is there."""
    global _done
    if _done:
        return
    _done = True
    # The package hands out its decorator under the module's name.
    operation: Any = import_module("pyinfra.api.operation")
    if hasattr(operation, "get_operation_order_from_stack"):
        operation.get_operation_order_from_stack = order_from_stack
    if hasattr(arguments, "all_global_arguments"):
        arguments.all_global_arguments = _remember(arguments.all_global_arguments)
    if "__getattr__" in vars(HostData) and getattr(command, "shlex", None) is shlex:
        HostData.__getattr__ = find_datum  # type: ignore[method-assign]
        # Its formats are few; the words are put together anew each time.
        command.shlex = SimpleNamespace(split=cache(lambda text: tuple(shlex.split(text))), quote=shlex.quote)  # type: ignore[assignment]


def order_from_stack(state: State) -> list[int | None]:
    """The line numbers of the calls that lead to an operation, from the deploy file on, pyinfra's own left out.

    As ``pyinfra.api.util.get_operation_order_from_stack``, called by the same function.
    """
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    first = 0
    if state.current_deploy_filename:
        # Where the file is not among them, pyinfra begins at the last one.
        first = len(frames)
        for place, one in enumerate(frames):
            if one.f_code.co_filename == state.current_deploy_filename:
                first = place
                break
    numbers: list[int | None] = [state.current_op_file_number] if pyinfra.is_cli else []
    for one in frames[first:]:
        if not one.f_code.co_filename.startswith(util.PYINFRA_INSTALL_DIR):
            numbers.append(one.f_lineno)
    return numbers


def find_datum(self: HostData, key: str) -> Any:
    """The first of a host's data by that name, copied, so that changes to it do not stick.

    As ``pyinfra.api.host.HostData.__getattr__``. Raises AttributeError where there is none.
    """
    for data in self.datas:
        found = data() if callable(data) else data
        if key in found:
            return copy(found[key])
    raise AttributeError(f"Host `{self.host}` has no data `{key}`")


def _remember(function: Any) -> Any:
    remembered = cache(lambda: tuple(function()))

    def all_global_arguments() -> list[tuple[str, Any]]:
        return list(remembered())

    return all_global_arguments
