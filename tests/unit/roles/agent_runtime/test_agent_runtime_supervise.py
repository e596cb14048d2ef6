"""The supervisor of a container, with an engine that keeps state as Docker's does."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from roles.agent_runtime.onhost.container_files import ContainerFiles, Owner, own_folder, own_log_file
from roles.agent_runtime.onhost.docker_engine import Engine, EngineError, EngineGoneError
from roles.agent_runtime.onhost.images import list_sources

ME = Owner(os.getuid(), os.getgid())


class Daemon:
    """One container's life behind a socket that speaks as much of Docker's API as the supervisor uses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: dict[str, Any] | None = None
        self.calls: list[str] = []
        self.output = b""
        self.options: list[str] = []
        self.root = "/var/lib/docker"
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                daemon.calls.append(f"{self.command} {self.path}")
                status, body = daemon.handle(self.command, self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

            def address_string(self) -> str:
                return "local"

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handle(self, verb: str, path: str) -> tuple[int, bytes]:
        if path == "/info":
            return 200, json.dumps({"SecurityOptions": self.options, "DockerRootDir": self.root}).encode()
        if path.startswith("/networks/"):
            return 204, b""
        if path.partition("?")[0].endswith("/logs"):
            frame = b"\x01\0\0\0" + len(self.output).to_bytes(4, "big") + self.output
            return 200, frame if self.output else b""
        if path.endswith("/json"):
            return (200, json.dumps({"State": self.state}).encode()) if self.state else (404, b"{}")
        if path.endswith("/start"):
            self.state = {"Running": True}
            return 204, b""
        if "/stop" in path:
            self.state = {"Running": False, "ExitCode": 0}
            return 204, b""
        self.state = None
        return 204, b""

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "d.sock")
    yield made
    with suppress(OSError):
        made.close()


@pytest.fixture
def declared(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "instance.json").write_text("{}")
    return {
        "unit": "chorus-planner@1",
        "service": "chorus-planner-1",
        "project": "chorus-planning",
        "network": "chorus-planning",
        "compose": str(tmp_path / "compose.yaml"),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "secrets": {"token": str(tmp_path / "secret")},
        "files": {"instances/chorus-planner@1.json": str(tmp_path / "instance.json")},
        "trust": {},
        "certificates": {},
        "state": str(tmp_path / "state"),
        "log_file": "",
        "stop_seconds": 3,
    }


class Run:
    """The supervisor as a process of its own, with a compose that only notes how it was called."""

    def __init__(self, tmp_path: Path, declared: dict[str, Any], daemon: Daemon) -> None:
        (tmp_path / "bin").mkdir()
        compose = tmp_path / "bin/docker-compose"
        compose.write_text(f'#!/bin/sh\necho "$GROUNDWORK_USER $@" >> {tmp_path}/compose.log\n')
        compose.chmod(0o755)
        self.notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notes.bind(str(tmp_path / "n.sock"))
        self.notes.settimeout(10)
        self.folder = tmp_path / "containers"
        code = (
            "import json, os, sys\n"
            "from roles.agent_runtime.onhost import supervise as s\n"
            "s.RUNNING_SECONDS = 0.1\n"
            "from pathlib import Path\n"
            f"d = json.loads({json.dumps(declared)!r})\n"
            f"code = s.Supervisor(d, s.Engine({str(daemon.path)!r}), Path({str(self.folder)!r})).run()\n"
            "sys.stdout.flush(); os._exit(code)\n"
        )
        environ = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "WATCHDOG_USEC": "30000000"}
        environ["NOTIFY_SOCKET"] = str(tmp_path / "n.sock")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, line: str) -> None:
        while line not in self.notes.recv(4096).decode().splitlines():
            pass

    def end(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=20)
        return self.process.returncode, output, errors

    def tell(self, unit: str, *lines: str) -> None:
        """What the process in the container tells its service manager."""
        path = self.folder / unit / "run/notify"
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto("\n".join(lines).encode(), str(path))


@pytest.fixture
def run(tmp_path: Path, declared: dict[str, Any], daemon: Daemon) -> Iterator[Run]:
    made = Run(tmp_path, declared, daemon)
    yield made
    made.process.kill()
    made.process.wait()


def test_ready_is_passed_on_and_a_stop_is_orderly(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    daemon.output = b"hello\n"
    run.tell("chorus-planner@1", "READY=1", "STATUS=ready")
    run.wait_for("READY=1")
    run.process.send_signal(signal.SIGTERM)
    status, output, _ = run.end()
    assert status == 0
    assert "hello" in output
    assert "POST /containers/chorus-planner-1/stop?t=3" in daemon.calls
    called = (tmp_path / "compose.log").read_text()
    assert called.startswith(f"{os.getuid()}:{os.getgid()} -p chorus-planning")
    assert "--no-start --no-deps --no-build --force-recreate chorus-planner-1" in called


def test_health_is_readiness_for_who_says_nothing(run: Run, daemon: Daemon) -> None:
    deadline = time.monotonic() + 10
    while daemon.state is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert daemon.state is not None
    daemon.state["Health"] = {"Status": "healthy"}
    run.wait_for("READY=1")
    run.wait_for("WATCHDOG=1")


def test_an_end_of_the_container_ends_the_unit(run: Run, daemon: Daemon) -> None:
    run.tell("chorus-planner@1", "READY=1")
    run.wait_for("READY=1")
    daemon.state = {"Running": False, "ExitCode": 137, "OOMKilled": True}
    status, _, errors = run.end()
    assert (status, "exit status 137, killed for memory" in errors) == (1, True)


def test_an_unhealthy_container_ends_the_unit(run: Run, daemon: Daemon) -> None:
    run.tell("chorus-planner@1", "READY=1")
    run.wait_for("READY=1")
    daemon.state = {"Running": True, "Health": {"Status": "unhealthy", "Log": [{"Output": "8000/health: refused"}]}}
    status, _, errors = run.end()
    assert (status, "8000/health: refused" in errors) == (1, True)


def test_a_restart_of_the_engine_is_outlived(run: Run, daemon: Daemon) -> None:
    run.tell("chorus-planner@1", "READY=1")
    run.wait_for("READY=1")
    daemon.close()
    daemon.path.unlink()
    time.sleep(1)
    assert run.process.poll() is None
    again = Daemon(daemon.path)
    again.state = {"Running": True}
    run.wait_for("WATCHDOG=1")
    assert run.process.poll() is None
    again.close()


def test_user_ids_are_shifted_as_the_engine_does(daemon: Daemon) -> None:
    engine = Engine(str(daemon.path))
    assert engine.read_user_offset() == 0
    daemon.options, daemon.root = ["name=seccomp,profile=builtin", "name=userns"], "/var/lib/docker/231072.231072"
    assert engine.read_user_offset() == 231072


def test_a_refusal_and_an_absence_differ(daemon: Daemon, tmp_path: Path) -> None:
    engine = Engine(str(daemon.path))
    assert engine.inspect("nothing") is None
    daemon.handle = lambda verb, path: (409, b'{"message": "port is already allocated"}')  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="port is already allocated"):
        engine.start("x")
    with pytest.raises(EngineGoneError):
        Engine(str(tmp_path / "absent.sock")).inspect("x")


def test_copies_belong_to_the_container_and_follow_a_renewal(tmp_path: Path, declared: dict[str, Any]) -> None:
    source = tmp_path / "certificates/chorus-planner@1"
    for name in ("a", "b"):
        (source / name).mkdir(parents=True)
        (source / name / "key.pem").write_text(f"key {name}")
    (source / "current").symlink_to("a")
    declared["certificates"] = {"certificates/chorus-planner@1/current": str(source / "current")}
    files = ContainerFiles("chorus-planner@1", tmp_path / "run")
    (tmp_path / "probe.py").write_text("")
    files.prepare(declared, ME, tmp_path / "probe.py")
    key = files.path / "etc/certificates/chorus-planner@1/current/key.pem"
    assert key.read_text() == "key a"
    assert key.stat().st_mode & 0o777 == 0o400
    assert (files.path / "secrets/token").stat().st_mode & 0o777 == 0o400
    assert files.refresh(declared, ME) is False
    (source / "current").unlink()
    (source / "current").symlink_to("b")
    assert files.refresh(declared, ME) is True
    assert key.read_text() == "key b"
    assert [path.name for path in key.parent.parent.iterdir() if not path.is_symlink()] == ["b"]
    files.remove()
    assert not files.path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root hands files over")
def test_data_of_another_user_are_handed_over(tmp_path: Path) -> None:
    (tmp_path / "state/sub").mkdir(parents=True)
    (tmp_path / "state/sub/file").write_text("x")
    other = Owner(100_997, 100_997)
    own_folder(tmp_path / "state", other)
    assert (tmp_path / "state/sub/file").stat().st_uid == 100_997
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    own_log_file(tmp_path / "log/x.log", other)
    assert (tmp_path / "log/x.log").stat().st_uid == 100_997
    assert (tmp_path / "log").stat().st_uid == 0


def test_a_link_is_no_log_file(tmp_path: Path) -> None:
    (tmp_path / "x.log").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match=r"x\.log"):
        own_log_file(tmp_path / "x.log", ME)


def test_the_base_comes_from_debians_own_sources(tmp_path: Path) -> None:
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (folder / "debian.sources").write_text("Types: deb\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n")
    (folder / "vendor.sources").write_text("Types: deb\nSigned-By: /etc/apt/keyrings/vendor.gpg\n")
    (folder / "notes.txt").write_text("debian-archive-keyring")
    assert list_sources(tmp_path) == [str(folder / "debian.sources")]
