"""Starts the worker process, follows its events and returns the result."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from groundwork.engine.events import Event, parse_event
from groundwork.engine.request import RunRequest
from groundwork.engine.results import RunResult
from groundwork.engine.tally import Tally

LAST_LINES = 40
"""Lines kept of what the worker printed, for the message when it dies."""


LOOK_SECONDS = 1.0
"""How often to look whether a silent worker still lives."""


class EngineError(Exception):
    """The worker process died without a result."""


def run(request: RunRequest, on_event: Callable[[Event], None] | None = None) -> RunResult:
    """Do one plan or apply and return what came of it.

    Args:
        request: what to do.
        on_event: called with every event of the worker, in the caller's thread.

    Interrupting (Ctrl-C or SIGTERM) stops the run cleanly: nothing new is begun and the result says what was
    done. A second interrupt kills the worker at once.

    Raises:
        EngineError: the worker died by itself.
    """
    tally = Tally(request)
    with _worker(request) as (process, events, printed):
        with _interruptible(process, tally):
            for line in _lines(events, process):
                event = parse_event(line)
                tally.add(event)
                if on_event is not None:
                    on_event(event)
        code = process.wait()
    result = tally.result()
    if not tally.finished and not result.interrupted:
        tail = "\n".join(printed)
        raise EngineError(f"the engine's worker process ended with code {code}\n{tail}".rstrip())
    return result


@contextmanager
def _worker(request: RunRequest) -> Iterator[tuple[subprocess.Popen[bytes], int, deque[str]]]:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "groundwork.engine.worker", str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(writing,),
        cwd=request.root,
        # Ctrl-C in the terminal must reach the worker through us alone, as SIGTERM.
        start_new_session=True,
    )
    os.close(writing)
    printed: deque[str] = deque(maxlen=LAST_LINES)
    reader = threading.Thread(target=_keep, args=(process, printed, request.verbose), daemon=True)
    reader.start()
    try:
        assert process.stdin is not None
        process.stdin.write(request.model_dump_json().encode() + b"\n")
        # Left open: its end tells the worker that this process is gone.
        process.stdin.flush()
        yield process, reading, printed
        reader.join(timeout=2)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(reading)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _keep(process: subprocess.Popen[bytes], printed: deque[str], verbose: bool) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        text = line.decode(errors="replace").rstrip()
        printed.append(text)
        if verbose:
            print(text, file=sys.stderr)


def _lines(descriptor: int, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Lines of the worker until it closes its end or is gone: a process that it started may hold that end open."""
    rest = b""
    while True:
        if not select.select([descriptor], [], [], LOOK_SECONDS)[0]:
            if process.poll() is not None:
                return
            continue
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


@contextmanager
def _interruptible(process: subprocess.Popen[bytes], tally: Tally) -> Iterator[None]:
    """While this is open, an interrupt stops the worker; outside the main thread nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        process.send_signal(signal.SIGKILL if tally.interrupted else signal.SIGTERM)
        tally.interrupt()

    saved = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)
