"""Runs one tool once and measures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.fleet.tools import Tool

PROXY = Path(__file__).with_name("delaying_proxy.py")


@dataclass(frozen=True)
class Measured:
    """One run of one tool."""

    tool: str
    hosts: int
    delay: int
    """Milliseconds there and back."""
    unchanged: bool
    seconds: float
    processor: float
    """Seconds of processor time on the controller, of the tool and what it started and waited for."""
    remote: float
    """Seconds of processor time on all hosts together, 0 where the machine does not count it."""
    memory: int
    """Largest resident set of one process on the controller, in MB; the kernel counts this one before it starts it."""
    bytes: int
    """What passed both ways, of all hosts."""
    trips: int
    """Answers that were waited for on the host with the most of them."""
    load: float = 0.0
    """Load average of the machine before the run: what else it had to do."""


class Results:
    """The runs so far, a line each in a file, so that a benchmark that was stopped goes on where it was."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.runs: list[Measured] = []
        if file is not None and file.exists():
            self.runs = [Measured(**json.loads(line)) for line in file.read_text().splitlines()]

    def add(self, run: Measured) -> None:
        """Note a run."""
        self.runs.append(run)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")

    def count(self, tool: str, hosts: int, delay: int, unchanged: bool) -> int:
        """How many runs of that kind there are."""
        wanted = (tool, hosts, delay, unchanged)
        return sum((run.tool, run.hosts, run.delay, run.unchanged) == wanted for run in self.runs)


class Proxy:
    """The delaying proxy in front of some hosts."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.ports: list[int] = json.loads(self._read())

    def passed(self) -> dict[str, int]:
        """Bytes and round trips since the last call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return dict(json.loads(self._read()))

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def start_proxy(delay: int, targets: list[str]) -> Iterator[Proxy]:
    """A proxy with a port for each of ``targets`` (address:port), ``delay`` milliseconds there and back."""
    command = [sys.executable, str(PROXY), str(delay), *targets]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Proxy(process)
    finally:
        process.kill()
        process.wait()


def run_tool(
    tool: Tool, folder: Path, hosts: int, delay: int, unchanged: bool, proxy: Proxy, remote: Callable[[], float]
) -> Measured:
    """Run a tool in ``folder`` and measure it.

    ``remote`` gives the processor time of all hosts so far. Raises AssertionError where the tool fails, changes
    something on hosts that have everything, or nothing on hosts that have nothing.
    """
    proxy.passed()
    load = os.getloadavg()[0]
    before = remote()
    # No connection of an earlier run is taken over: each tool logs in, as at the first run of a day.
    with tempfile.TemporaryDirectory(prefix="gw-cp-") as control, tempfile.TemporaryFile("w+") as printed:
        started = time.monotonic()
        process = subprocess.Popen(
            tool.command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, **tool.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": control},
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read()
    assert status == 0, f"{tool.name}: {text[-3000:]}"
    changed = tool.changed(text)
    assert (changed == 0) == unchanged, f"{tool.name} changed {changed}: {text[-3000:]}"
    passed = proxy.passed()
    print(
        f"{tool.name}, {hosts} hosts, {delay} ms, {changed} changed: {seconds:.2f} s, {passed['trips']} round trips",
        file=sys.stderr,
    )
    return Measured(
        tool=tool.name,
        hosts=hosts,
        delay=delay,
        unchanged=unchanged,
        seconds=round(seconds, 3),
        processor=round(usage.ru_utime + usage.ru_stime, 3),
        remote=round(remote() - before, 3),
        memory=usage.ru_maxrss // 1024,
        bytes=passed["bytes"],
        trips=passed["trips"],
        load=round(load, 1),
    )
