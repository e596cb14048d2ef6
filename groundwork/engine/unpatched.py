"""Imports pyinfra's command-line package without its side effect on the whole process."""

from __future__ import annotations

import sys
from unittest.mock import patch


def import_pyinfra_cli() -> None:
    """Import ``pyinfra_cli``, whose ``__init__`` has gevent replace the standard library's blocking calls.

    That is right in the worker process, where gevent has done so already. In a command that only reads an
    inventory it would swap subprocess, threading and os under code that runs already; then a pipe that a child
    process writes to never ends.
    """
    if "pyinfra_cli" in sys.modules:
        return
    with patch("gevent.monkey.patch_all"):
        __import__("pyinfra_cli")
