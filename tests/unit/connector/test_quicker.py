"""What replaces pyinfra's functions gives what they give."""

from __future__ import annotations

import shlex
from copy import copy
from importlib import import_module
from types import SimpleNamespace
from typing import Any, get_type_hints

import pyinfra
import pytest
from pyinfra.api import Inventory, arguments, command, util
from pyinfra.api.host import HostData, extract_callable_datas

from groundwork.connector.quicker import _remember, find_datum, make_quicker, order_from_stack


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


def test_same_data(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"first": {"shared": 1, "only": [1]}, "second": {"shared": 2, "empty": None}}
    inventory = Inventory(([("one", {"own": "x", "shared_too": 1}), "two"], {"everywhere": 5}))
    for name, data in groups.items():
        inventory.group_data[name] = data
    host = inventory.get_host("one")
    host.groups += ["first", "second"]
    host.data.assigned = {"a": 1}
    for key in ("own", "shared", "shared_too", "only", "empty", "everywhere", "assigned", "_sudo", "none"):
        assert getattr(host.data, key, "absent") == stock_datum(host.data, key)
    host.data.only.append(2)
    assert host.data.only == [1]
    with pytest.raises(AttributeError, match="Host `one` has no data `none`"):
        _ = host.data.none


def stock_datum(data: HostData, key: str) -> Any:
    """pyinfra's own answer, whichever is in place."""
    for one in extract_callable_datas(data.datas):
        try:
            return copy(one[key])
        except KeyError:
            pass
    return "absent"


def test_same_words() -> None:
    make_quicker()
    assert command.shlex is not shlex
    for _ in range(2):
        made = command.make_formatted_string_command("a {0} 'b c' {1}", command.QuoteString("x y"), "$z")
        assert made.get_raw_value() == "a 'x y' b c $z"


def test_all_are_in_place() -> None:
    make_quicker()
    assert HostData.__getattr__ is find_datum
    operation: Any = import_module("pyinfra.api.operation")
    assert operation.get_operation_order_from_stack is order_from_stack
    assert arguments.all_global_arguments.__module__ == "groundwork.connector.quicker"
