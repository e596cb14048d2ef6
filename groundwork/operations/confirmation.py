"""Confirms a change on trial over a connection of its own: that one can still be made is what is to be proven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gevent
from pyinfra import logger
from pyinfra.api import QuoteString, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.state import State

CONFIRM_SECONDS = 20
"""For the connection and the command over it; less than the trial lasts."""
REVERT_SECONDS = 10
"""For reverting over the old connection, which the timer does anyway."""


def confirm_anew(state: State, host: Host, switch: str, arguments: Mapping[str, Any], what: str = "rules") -> bool:
    """Connect to the host once more, as its inventory says, and end the trial over that connection.

    ``switch`` is the script on the host (``SWITCH keep`` and ``SWITCH revert``), ``arguments`` how pyinfra becomes
    root there, ``what`` the plural of what is on trial. Returns whether it worked; otherwise the former state is back
    at once, or when the trial's time is over.
    """
    reason = _keep(state, host, switch, arguments)
    if not reason:
        return True
    reverted = _revert(host, switch, arguments)
    told = f"the former {what} are back" if reverted else f"the former {what} return by themselves when the trial ends"
    logger.error(f"{host.print_prefix}the new {what} were not confirmed: {reason}; {told}")
    return False


def connector_arguments(host: Host) -> dict[str, Any]:
    """How the operation that runs on a host becomes root, for the connection that confirms."""
    given: Mapping[str, Any] = host.current_op_global_arguments or {}
    return {key: given[key] for key in CONNECTOR_ARGUMENT_KEYS if given.get(key) is not None and key != "_timeout"}


def _keep(state: State, host: Host, switch: str, arguments: Mapping[str, Any]) -> str:
    """Confirm over a new connection; returns why that failed, or an empty text."""
    connector: Any = type(host.connector)(state, host)
    slow = ConnectError(f"no answer within {CONFIRM_SECONDS} s over a new connection")
    try:
        with gevent.Timeout(CONFIRM_SECONDS, slow):
            connector.connect()
            done, output = connector.run_shell_command(StringCommand(QuoteString(switch), "keep"), **arguments)
            return "" if done else str(output.stderr or output.stdout or "the confirmation failed")
    except Exception as error:
        return f"a new connection cannot be made: {error}"
    finally:
        client = getattr(connector, "client", None)
        if client is not None:
            client.close()


def _revert(host: Host, switch: str, arguments: Mapping[str, Any]) -> bool:
    try:
        with gevent.Timeout(REVERT_SECONDS, ConnectError("no answer")):
            done, _ = host.run_shell_command(StringCommand(QuoteString(switch), "revert"), **arguments)
            return bool(done)
    except Exception:
        return False
