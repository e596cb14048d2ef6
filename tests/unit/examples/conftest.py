"""What the tests of the example runtime share: the package on the path, a Redis server, and runtime processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "examples" / "agent_runtime" / "src"
# The second for what these tests share, under tests/unit/examples/support.
sys.path[:0] = [str(SOURCE), str(ROOT)]

PASSWORD = "a-password-for-the-tests-only"
LLM_KEY = "llm-key-canary-0123456789"


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A Redis server with the kind of user that a platform's process gets."""

    def __init__(self, folder: Path) -> None:
        self.port = find_port()
        self._folder = folder
        configuration = folder / "redis.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\nappendonly yes\nappendfsync everysec\n"
            f"user runtime on >{PASSWORD} ~chorus:* ~ymera:* +@all -@admin -@dangerous -@scripting\n"
        )
        self.start()

    def start(self) -> None:
        log = (self._folder / "redis.log").open("ab")
        self._process = subprocess.Popen(["redis-server", str(self._folder / "redis.conf")], stdout=log, stderr=log)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("redis-server does not listen")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def command(self, *words: str) -> str:
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    yield server
    server.stop()


class RuntimeProcess:
    """A running `python -m agent_runtime`."""

    def __init__(
        self,
        folder: Path,
        name: str,
        agents: list[dict[str, Any]],
        redis_port: int,
        peers: dict[str, Any] | None = None,
        tls: dict[str, str] | None = None,
        redis: dict[str, Any] | None = None,
        services: dict[str, Any] | None = None,
        group: str = "core",
        platform: str = "chorus",
        **settings: str,
    ) -> None:
        self.ports = {agent["name"]: agent["port"] for agent in agents}
        credentials = folder / "credentials"
        credentials.mkdir(exist_ok=True)
        (credentials / "redis-password").write_text(PASSWORD + "\n")
        (credentials / "llm-key").write_text(LLM_KEY)
        endpoint = {"host": "data", "address": "127.0.0.1", "port": redis_port}
        service = {"kind": "redis", "endpoints": [endpoint], "username": "runtime", "credential": "redis-password"}
        service |= {"keys": ["chorus:*"], **(redis or {})}
        self.instance = folder / f"{name}.json"
        self.instance.write_text(
            json.dumps(
                {
                    "platform": platform,
                    "environment": "lab",
                    "group": group,
                    "unit": name,
                    "host": "app",
                    "address": "127.0.0.1",
                    "agents": agents,
                    "services": {"redis": service, **(services or {})},
                    "peers": peers or {},
                    **({"tls": tls} if tls else {}),
                }
            )
        )
        self.notify_path = folder / f"{name}.notify"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.notify_path))
        self._notify.settimeout(0.1)
        self.log_path = folder / f"{name}.log"
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(SOURCE), str(folder)]),
            "GROUNDWORK_INSTANCE_FILE": str(self.instance),
            "CREDENTIALS_DIRECTORY": str(credentials),
            "NOTIFY_SOCKET": str(self.notify_path),
            "ENVIRONMENT": "lab",
            "LLM_MODEL": "test-model",
            "LLM_API_KEY_FILE": str(credentials / "llm-key"),
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PASSWORD_FILE": str(credentials / "redis-password"),
            **settings,
        }
        self.messages: list[str] = []
        self.tls: ssl.SSLContext | None = None
        if tls and Path(tls["key"]).exists():
            self.tls = ssl.create_default_context(cafile=tls["authority"])
            self.tls.load_cert_chain(tls["certificate"], tls["key"])
        self.start()

    def start(self) -> None:
        log = self.log_path.open("ab")
        command = [sys.executable, "-m", "agent_runtime"]
        self.process = subprocess.Popen(command, env=self.environ, stderr=log, stdout=log)

    def read_messages(self) -> list[str]:
        """Take what was sent to the service manager since the last call."""
        fresh = []
        while True:
            try:
                fresh += self._notify.recv(65536).decode().split("\n")
            except TimeoutError:
                self.messages += fresh
                return fresh

    def wait_for_message(self, line: str, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while line not in self.messages:
            self.read_messages()
            if time.monotonic() > deadline or (self.process.poll() is not None and line not in self.messages):
                raise AssertionError(f"no {line} in {self.messages}\n{self.log_path.read_text()}")

    def call(
        self, agent: str, path: str, body: Any = None, method: str | None = None, **headers: str
    ) -> tuple[int, str]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{'https' if self.tls else 'http'}://127.0.0.1:{self.ports[agent]}{path}",
            data=data,
            method=method,
            headers={"Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=20, context=self.tls) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._notify.settimeout(0.1)


StartRuntime = Callable[..., RuntimeProcess]


@pytest.fixture
def ymera() -> Iterator[Any]:
    """NATS, PostgreSQL and PgBouncer with mutual TLS; skips where one is not installed."""
    from tests.unit.examples.support.ymera import Ymera

    services = Ymera()
    yield services
    services.stop()


@pytest.fixture
def start_runtime(tmp_path: Path) -> Iterator[StartRuntime]:
    """Start runtime processes: `start(name, {"agent": "module"}, redis_port, replica=..., peers=..., KEY=value...)`."""
    started: list[RuntimeProcess] = []

    def start(name: str, modules: dict[str, str], redis_port: int, replica: int = 1, **settings: Any) -> RuntimeProcess:
        agents = [
            {"name": agent, "replica": replica, "module": module, "bind": "127.0.0.1", "port": find_port()}
            for agent, module in modules.items()
        ]
        started.append(RuntimeProcess(tmp_path, name, agents, redis_port, **settings))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()
