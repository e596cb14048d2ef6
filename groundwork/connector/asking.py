"""Tells a fact's command from all others."""

from __future__ import annotations

import sys

from pyinfra.api import facts

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
