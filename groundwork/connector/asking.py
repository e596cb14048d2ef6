"""Tells a fact's command from all others, and asks one the short way where there is one."""

from __future__ import annotations

import sys

from pyinfra.api import facts

from groundwork.connector.context import Request
from groundwork.connector.grouping import group_requests, recognise
from groundwork.connector.shell import Answer, RemoteShell

# Between a fact and the connector lie Host.run_shell_command and, in our engine, the guard.
_FRAMES_BETWEEN = 2
_FACT = facts._get_fact.__code__


def asks_fact() -> bool:
    """Whether the connector's method that calls this was called to answer a fact.

    pyinfra does not tell its connectors. Whatever is not recognised counts as a command that may change something,
    which costs time and nothing else; so do the commands that a fact's own command needs before it.
    """
    frame = sys._getframe(2)
    for _ in range(_FRAMES_BETWEEN + 1):
        if frame.f_code is _FACT:
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def ask_shortly(shell: RemoteShell, request: Request, deadline: float | None) -> Answer | None:
    """The answer to a fact that the remote end can tell without the whole command; None: run it as it stands.

    After a change facts are asked one by one, and pyinfra asks for all accounts before each user that it makes.
    Raises what ``RemoteShell.run`` does.
    """
    if request.shell != "sh" or recognise(request.text) is None:
        return None
    requests, numbers = group_requests([(request.shell, request.text)], shell.next_number)
    (answer,) = shell.send_ahead(requests, numbers.values()).values()
    shell.wait_for(answer, deadline)
    return answer if answer.status == 0 else None
