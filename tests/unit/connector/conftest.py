"""A real sshd on 127.0.0.1, and hosts of pyinfra that are connected to it with the stock connector or with ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from pyinfra.api.config import Config
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_host, ctx_state

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
STOCK, OURS = "@ssh/stock", "@groundwork/ours"


class Server:
    """An sshd of its own; every connection is a process below it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        client, host = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
        client.write_private_key_file(str(folder / "key"))
        host.write_private_key_file(str(folder / "host_key"))
        (folder / "authorized").write_text(f"{client.get_name()} {client.get_base64()}\n")
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {host.get_name()} {host.get_base64()}\n")
        self.options: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert SSHD is not None
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/authorized",
            f"PidFile {self.folder}/pid",
            "UsePAM no",
            "StrictModes no",
            "PermitRootLogin yes",
            "Subsystem sftp internal-sftp",
            *self.options,
        ]
        (self.folder / "config").write_text("\n".join(lines) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.process = subprocess.Popen([SSHD, "-D", "-f", str(self.folder / "config")], stderr=subprocess.DEVNULL)
        until(self._answers, "sshd listens")

    def stop(self) -> None:
        if self.process is not None:
            self.kill_connections()
            self.process.kill()
            self.process.wait()
            self.process = None

    def kill_connections(self) -> None:
        for child in self.descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def descendants(self) -> list[int]:
        """Processes of the connections, the oldest first."""
        assert self.process is not None
        parents: dict[int, int] = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry.parent.name)] = int(fields[1])
        found = [self.process.pid]
        for process in found:
            found += sorted(child for child, parent in parents.items() if parent == process)
        return found[1:]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def data(self) -> dict[str, Any]:
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.port,
            "ssh_user": subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip(),
            "ssh_key": str(self.folder / "key"),
            "ssh_known_hosts_file": str(self.folder / "known"),
            "ssh_strict_host_key_checking": "yes",
        }


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


class Run:
    """A run of pyinfra, as far as its hosts are concerned."""

    def __init__(self, data: dict[str, Any], *names: str, check: bool = True) -> None:
        self.state = State(check_for_changes=check)
        inventory = Inventory(([(name, dict(data)) for name in names], {}))
        self.state.init(inventory, Config())
        self.state.current_stage = StateStage.Prepare
        self.state.current_deploy_filename = "deploys/site.py"
        self.hosts = list(inventory)
        for host in self.hosts:
            host.connect(raise_exceptions=True)
            # Also for the stock connector, whose commands would take 48 ms each.
            host.connector.client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ours(self) -> Host:
        return self.state.inventory.get_host("ours")

    def fact(self, fact: Any, host: Host | None = None, **arguments: Any) -> Any:
        host = host or self.ours
        with ctx_state.use(self.state), ctx_host.use(host):
            return host.get_fact(fact, **arguments)

    def close(self) -> None:
        for host in self.hosts:
            client = getattr(host.connector, "client", None)
            host.connector.disconnect()
            if client is not None:
                client.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if SSHD is None:
        pytest.skip("sshd is not installed")
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Run]]:
    """A function that begins a run on one host, by default with both connectors."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    runs: list[Run] = []

    def make(*names: str, check: bool = True, **data: Any) -> Run:
        runs.append(Run(server.data | data, *(names or (STOCK, OURS)), check=check))
        return runs[-1]

    yield make
    for run in runs:
        run.close()
