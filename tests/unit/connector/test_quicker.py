"""What replaces pyinfra's functions gives what they give."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any, get_type_hints

import pyinfra
import pytest
from pyinfra.api import arguments, util

from groundwork.connector.quicker import _remember, make_quicker, order_from_stack


def nested(function: Any, state: Any, depth: int) -> Any:
    return nested(function, state, depth - 1) if depth else function(state)


@pytest.mark.parametrize("is_cli", [True, False])
@pytest.mark.parametrize("deploy", [__file__, "deploys/elsewhere.py", None])
def test_same_order(monkeypatch: pytest.MonkeyPatch, is_cli: bool, deploy: str | None) -> None:
    monkeypatch.setattr(pyinfra, "is_cli", is_cli)
    state = SimpleNamespace(current_deploy_filename=deploy, current_op_file_number=3)
    # On one line, and by a function of pyinfra's in between: each leaves itself out.
    monkeypatch.setattr(util, "PYINFRA_INSTALL_DIR", util.__file__)
    pair = [nested(function, state, 3) for function in (util.get_operation_order_from_stack, order_from_stack)]
    assert pair[0] == pair[1]


def test_same_arguments() -> None:
    given = list(get_type_hints(arguments.AllArguments).items())
    remembered = _remember(lambda: given)
    assert remembered() == given == arguments.all_global_arguments()
    assert remembered() is not remembered()


def test_both_are_in_place() -> None:
    make_quicker()
    operation: Any = import_module("pyinfra.api.operation")
    assert operation.get_operation_order_from_stack is order_from_stack
    assert arguments.all_global_arguments.__module__ == "groundwork.connector.quicker"
