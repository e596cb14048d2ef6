"""The layout of a host's cards as a pyinfra operation."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import OperationMeta

from roles.gpu.facts import Lags

# Resets, and consumers that take their time to become ready.
APPLY_SECONDS = 3600


@operation()
def laid_out(
    package: str, library: str, settings: str, document: str, drain: bool = False, after: Sequence[OperationMeta] = ()
) -> Generator[PyinfraCommand, None, None]:
    """
    Have the program on the host bring the cards to the declared layout, or back to the former one (it fails then).

    + package: name of the program's Python package below ``library``
    + settings: path of what is declared; ``document`` is its content
    + drain: stop whoever is in the way, also what is not this platform's
    + after: results of the operations that write units and settings, so that a plan shows what follows

    It runs as a service of its own, so that the end of the connection does not leave it half done.
    """
    lags = host.get_fact(Lags, package=package, library=library, document=document)
    planned = not state.is_executing and any(meta._maybe_is_change for meta in after)
    if lags == [] and not planned:
        host.noop("the cards are as declared")
        return
    if state.config.DIFF:
        for line in lags or []:
            host.log(line, logger.info)
    command = ["/usr/bin/python3", "-B", "-m", package, "apply", settings, *(["--drain"] if drain else [])]
    run = f"systemd-run --quiet --wait --pipe --collect --setenv=PYTHONPATH={library} --description='Lay out cards' --"
    yield StringCommand(run, shlex.join(command), _timeout=APPLY_SECONDS)
