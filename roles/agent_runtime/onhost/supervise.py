"""``python3 -m <package>.supervise run|remove DESCRIPTION``: one container as one unit of systemd.

The unit's main process: it makes the container from its compose project, starts it, passes on what the process in it
tells the service manager (sd_notify: ready, status, watchdog) and what it writes, and ends when the container does
or is unhealthy. It outlives a restart of the engine, as the containers do (live-restore).
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .container_files import FOLDER, ContainerFiles, Owner, own_folder, own_log_file
from .docker_engine import Engine, EngineError, EngineGoneError

STARTING_SECONDS, RUNNING_SECONDS = 0.25, 2.0
"""Pauses between two looks at the container."""
REFRESH_SECONDS = 10.0
LARGEST_MESSAGE = 4096
PASSED_ON = ("STATUS=", "ERRNO=", "STOPPING=")


class Supervisor:
    """One container."""

    def __init__(self, declared: dict[str, Any], engine: Engine, folder: Path = FOLDER) -> None:
        self._declared, self._engine = declared, engine
        self._name = str(declared["service"])
        self._files = ContainerFiles(declared["unit"], folder)
        self._folder = folder
        self._stop = threading.Event()
        self._told_ready = False
        self._last_ping = 0.0
        self._watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6

    def run(self) -> int:
        """Keep the container running until it ends, is unhealthy, or SIGTERM comes; return the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        account = pwd.getpwnam(self._declared["user"])
        offset = self._engine.read_user_offset()
        owner = Owner(account.pw_uid + offset, account.pw_gid + offset)
        self._files.prepare(self._declared, owner, Path(__file__).with_name("probe.py"))
        own_folder(Path(self._declared["state"]), owner)
        if self._declared["log_file"]:
            own_log_file(Path(self._declared["log_file"]), owner)
        receiver = self._open_receiver(owner)
        self._create(f"{account.pw_uid}:{account.pw_gid}")
        began = time.time()
        if not self._stop.is_set():
            self._engine.start(self._name)
            for work in (lambda: self._receive(receiver), lambda: self._pass_logs_on(began)):
                threading.Thread(target=work, daemon=True).start()
        status = self._watch(owner)
        if self._stop.is_set():
            self._notify("STOPPING=1")
            with suppress(EngineGoneError):
                self._engine.stop(self._name, self._declared["stop_seconds"])
            return 0
        time.sleep(STARTING_SECONDS)  # for the last lines of its output
        return status

    def remove(self) -> None:
        """Remove the container, its copies, and the group's network when it was the last one on it."""
        self._files.remove()
        with self._locked(), suppress(EngineGoneError):
            self._engine.remove(self._name)
            self._engine.remove_network(self._declared["network"])

    def _locked(self) -> _Lock:
        # Two services of a project at once would make its network twice.
        return _Lock(self._folder / f".{self._declared['project']}.lock")

    def _create(self, user: str) -> None:
        project = ["docker-compose", "-p", self._declared["project"], "-f", self._declared["compose"]]
        command = [*project, "up", "--no-start", "--no-deps", "--no-build", "--force-recreate", self._name]
        environ = {**os.environ, "GROUNDWORK_USER": user, "COMPOSE_IGNORE_ORPHANS": "1"}
        with self._locked():
            # Left by a supervisor that was killed, or by another declaration.
            self._engine.remove(self._name)
            done = subprocess.run(command, capture_output=True, text=True, env=environ)
        if done.returncode != 0:
            raise EngineError(f"docker-compose: {(done.stderr or done.stdout).strip()[-1500:]}")

    def _open_receiver(self, owner: Owner) -> socket.socket:
        path = self._files.path / "run" / "notify"
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(str(path))
        os.chown(path, owner.uid, owner.gid)
        path.chmod(0o600)
        return receiver

    def _notify(self, *lines: str) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        if address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                target = "\0" + address[1:] if address.startswith("@") else address
                channel.sendto("\n".join(lines).encode(), target)

    def _receive(self, receiver: socket.socket) -> None:
        while True:
            message = receiver.recv(LARGEST_MESSAGE).decode(errors="replace").splitlines()
            self._told_ready |= "READY=1" in message
            if "WATCHDOG=1" in message:
                self._last_ping = time.monotonic()
            passed = [line for line in message if line.startswith(PASSED_ON)]
            if passed:
                self._notify(*passed)

    def _pass_logs_on(self, since: float) -> None:
        while not self._stop.is_set():
            with suppress(EngineGoneError):
                for stream, content in self._engine.follow_logs(self._name, since):
                    os.write(1 if stream == 1 else 2, content)
                    since = time.time()
            if self._stop.wait(RUNNING_SECONDS):
                return

    def _watch(self, owner: Owner) -> int:
        ready = False
        renewed = time.monotonic()
        while not self._stop.wait(RUNNING_SECONDS if ready else STARTING_SECONDS):
            try:
                found = self._engine.inspect(self._name)
            except EngineGoneError:
                self._ping()
                continue
            state = found["State"] if found else {}
            if not state.get("Running"):
                code = state.get("ExitCode", "unknown")
                killed = ", killed for memory" if state.get("OOMKilled") else ""
                print(f"the container has ended, exit status {code}{killed}", file=sys.stderr)
                return 1
            health = state.get("Health") or {}
            if health.get("Status") == "unhealthy":
                told = str(((health.get("Log") or [{}])[-1]).get("Output", "")).strip()[-300:]
                print(f"the container is unhealthy: {told}", file=sys.stderr)
                return 1
            if not ready and (self._told_ready or health.get("Status") == "healthy"):
                ready = True
                self._notify("READY=1")
            self._ping()
            if time.monotonic() - renewed > REFRESH_SECONDS:
                renewed = time.monotonic()
                self._files.refresh(self._declared, owner)
        return 0

    def _ping(self) -> None:
        """Feed the unit's watchdog, unless the process has fed its own before and no longer does."""
        silent = self._last_ping and time.monotonic() - self._last_ping > self._watchdog
        if self._watchdog and not silent:
            self._notify("WATCHDOG=1")


class _Lock:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._path.open("w")
        fcntl.flock(self._stream, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def main(arguments: list[str] | None = None) -> int:
    """Supervise a container, or remove what is left of it."""
    action, description = sys.argv[1:] if arguments is None else arguments
    try:
        declared = json.loads(Path(description).read_text("utf-8"))
        supervisor = Supervisor(declared, Engine())
        if action == "run":
            return supervisor.run()
        supervisor.remove()
    except (EngineError, EngineGoneError, OSError, KeyError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Threads wait for the engine; they have nothing to lose.
    status = main()
    sys.stdout.flush()
    os._exit(status)
