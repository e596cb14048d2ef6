"""Messages through platform ymera for as long as something else is tried on its lab."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from benchmarks.ymera import HOST, Run, measure
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host

LONGEST_SECONDS = 900.0
MESSAGE_BYTES = 200
# Sending at its rate by then: the client has connected, and made its consumer.
START_SECONDS = 4.0


def run_on(lab: str, host: str, command: str) -> str:
    """Run a line of shell as root on a host of a lab and return what it prints.

    Raises:
        RuntimeError: it failed.
    """
    state = LabState(lab)
    code, output, errors = capture_command(state, find_host(state, host), [command])
    if code:
        raise RuntimeError(f"{host}: {command}: exit {code}: {errors.strip()[-500:]}")
    return output.strip()


class BackgroundLoad:
    """The load client of the runtime, started on entry; ``finish`` ends it and has its figures."""

    def __init__(self, lab: str, rate: float) -> None:
        """``rate`` is in messages per second."""
        self._lab, self._run = lab, Run(LONGEST_SECONDS, 256, rate)
        self._unit = f"groundwork-load-{secrets.token_hex(4)}"
        self._pool = ThreadPoolExecutor(1)
        self._figures: Future[dict[str, Any]] | None = None

    def __enter__(self) -> BackgroundLoad:
        self._figures = self._pool.submit(measure, self._lab, self._run, MESSAGE_BYTES, self._unit)
        time.sleep(START_SECONDS)
        return self

    def finish(self) -> dict[str, Any]:
        """End the load, wait until what it had under way has arrived, and return what the client counted.

        Raises:
            RuntimeError: it had ended before, or has failed.
        """
        assert self._figures is not None
        if self._figures.done():
            raise RuntimeError(f"the load ended too early: {self._figures.result()}")
        run_on(self._lab, HOST, f"systemctl kill --kill-whom=main --signal=TERM {self._unit}.service")
        return self._figures.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._figures is not None and not self._figures.done():
            run_on(self._lab, HOST, f"systemctl stop {self._unit}.service")
        self._pool.shutdown()
