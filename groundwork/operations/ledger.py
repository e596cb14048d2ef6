"""Removes what a role laid down and no longer declares, safe against being killed at any point.

A role calls ``begin`` before it changes anything and ``finish`` when everything is in place:

    items = [Item("unit", "chorus-planner@1.service"), Item("file", "/etc/groundwork/chorus/planner.env")]
    ledger.begin(name="Note what redis lays down", role="redis", items=items)
    ...
    ledger.finish(name="Remove what redis no longer declares", role="redis", items=items)

Between the two, the ledger on the host names everything that may be there. A role must also run, with no
items, on hosts that it left.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError

from groundwork.facts.ledger import Ledger, ledger_path
from groundwork.operations.ledger_items import (
    PREFIXES,
    Item,
    build_removal,
    check_item,
    format_ledger,
    list_removals,
    merge_items,
)
from groundwork.operations.placement import Placement, ScriptInput, build_script


def _write(role: str, items: Sequence[Item]) -> PyinfraCommand:
    placement = Placement(ledger_path(role), "root", "root", 0o644)
    content = ScriptInput(format_ledger(role, items).encode())
    return StringCommand(build_script(placement), _stdin=content)  # type: ignore[arg-type]


@operation()
def begin(role: str, items: Sequence[Item]) -> Generator[PyinfraCommand, None, None]:
    """
    Note down what the role is about to lay down, besides what it has laid down before.

    + role: the role's name, with the platform's where hosts carry several (``agent_runtime-chorus``)
    + items: everything the role declares on this host, in the order it lays them down
    """
    old = host.get_fact(Ledger, role=role)
    union = merge_items(old, items)
    if len(union) > len(old):
        yield _write(role, union)
    else:
        host.noop(f"the ledger of {role} is complete")


@operation()
def finish(
    role: str, items: Sequence[Item], prefixes: Sequence[str] = PREFIXES
) -> Generator[PyinfraCommand, None, None]:
    """
    Remove what the role laid down before and no longer declares, then note down exactly what it declares.

    + role, items: as given to ``begin``
    + prefixes: the only directories from which it removes files (each ends in ``/``)

    Data directories are no items: nothing here removes them. Nothing is removed when one item lies outside
    the prefixes.
    """
    old = host.get_fact(Ledger, role=role)
    removals = list_removals(old, items)
    if not removals:
        host.noop(f"{role} has nothing to remove")
        return
    refused = [f"{item.kind} {item.name}: {why}" for item in removals if (why := check_item(item, prefixes))]
    if refused:
        raise OperationError(f"the ledger of {role} names what must not be removed: {'; '.join(refused)}")
    for item in removals:
        if state.config.DIFF:
            host.log(f"Will remove {item.kind} {item.name}", logger.info)
    for item in removals:
        yield StringCommand(build_removal(item))
    if any(item.kind == "unit" for item in removals):
        yield StringCommand("systemctl daemon-reload")
    if items:
        yield _write(role, items)
    else:
        yield StringCommand("rm", "-f", "--", ledger_path(role))
