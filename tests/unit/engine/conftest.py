from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import paramiko
import pytest

from groundwork.engine.events import Event
from groundwork.engine.request import RunRequest, Timeouts
from groundwork.engine.results import Mode, RunResult
from groundwork.engine.runner import run

SERVER = Path(__file__).with_name("loopback_server.py")
# Quick, but not so quick that a busy machine misses them.
TIMEOUTS = Timeouts(connect=4, fact=20, operation=20, silence=6, stop=2)


class Bench:
    """A throw-away project: an inventory of loopback hosts and a deploy file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hosts: dict[str, dict[str, Any]] = {}

    def add_local(self) -> None:
        self.hosts["@local"] = {}

    def deploy(self, code: str) -> None:
        imports = "from io import StringIO\nfrom pyinfra import host\nfrom pyinfra.operations import files, server\n"
        (self.root / "deploy.py").write_text(imports + code)

    def request(self, mode: Mode = Mode.APPLY, limit: Sequence[str] = (), timeouts: Timeouts = TIMEOUTS) -> RunRequest:
        (self.root / "inventory.py").write_text(f"hosts = {list(self.hosts.items())!r}\n")
        return RunRequest(
            mode=mode,
            root=self.root,
            inventory=Path("inventory.py"),
            deploys=(Path("deploy.py"),),
            limit=tuple(limit),
            timeouts=timeouts,
        )

    def run(
        self,
        mode: Mode = Mode.APPLY,
        limit: Sequence[str] = (),
        on_event: Callable[[Event], None] | None = None,
        timeouts: Timeouts = TIMEOUTS,
    ) -> RunResult:
        return run(self.request(mode, limit, timeouts), on_event)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def add_server(bench: Bench) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """A function that starts an SSH server and adds it to the inventory under a name."""
    started: list[subprocess.Popen[str]] = []
    key = bench.root / "key"
    paramiko.RSAKey.generate(2048).write_private_key_file(str(key))

    def add(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        port, known = process.stdout.readline().split(" ", 1)
        known_hosts = bench.root / f"known_{name}"
        known_hosts.write_text(known)
        bench.hosts[name] = {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": int(port),
            "ssh_user": "tester",
            "ssh_key": str(key),
            "ssh_known_hosts_file": str(known_hosts),
            "ssh_strict_host_key_checking": "yes",
        }
        return process

    yield add
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
