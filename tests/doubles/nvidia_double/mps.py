"""The double of ``nvidia-cuda-mps-control``: a daemon with ``-d`` or ``-f``, else commands on standard input."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

DEFAULT_PIPE = "/tmp/nvidia-mps"
DEFAULT_LOG = "/var/log/nvidia-mps"


def _folder(name: str, default: str) -> Path:
    return Path(os.environ.get(name, default))


class Daemon:
    """What the control daemon knows; all of it is gone when it ends."""

    def __init__(self) -> None:
        self.percentage = float(os.environ.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "100"))
        self.limits: dict[str, str] = {}
        self.clients = 0
        self.ending = False
        self.log = _folder("CUDA_MPS_LOG_DIRECTORY", DEFAULT_LOG) / "control.log"

    def write(self, text: str) -> None:
        """Add a line to control.log."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S.000")
        with self.log.open("a") as stream:
            stream.write(f"[{stamp} Control {os.getpid()}] {text}\n")

    def answer(self, line: str) -> str:
        """The reply to one command; defaults are not validated, as in the real one."""
        words = line.split()
        match words:
            case ["get_default_active_thread_percentage"]:
                return f"{self.percentage:.1f}"
            case ["set_default_active_thread_percentage", value] if re.fullmatch(r"[0-9.]+", value):
                self.percentage = float(value)
                return f"{self.percentage:.1f}"
            case ["get_default_device_pinned_mem_limit", device]:
                return self.limits.get(device, "0M")
            case ["set_default_device_pinned_mem_limit", device, value]:
                self.limits[device] = value
                return ""
            case ["get_server_list"] | ["ps"]:
                return ""
            case ["quit", *_]:
                self.ending = True
                return ""
        return f"Invalid command: {line}"


def serve() -> int:
    """Run the daemon until ``quit`` or SIGTERM."""
    pipe = _folder("CUDA_MPS_PIPE_DIRECTORY", DEFAULT_PIPE)
    log = _folder("CUDA_MPS_LOG_DIRECTORY", DEFAULT_LOG)
    for folder in (pipe, log):
        folder.mkdir(parents=True, exist_ok=True)
    path = pipe / "control"
    if _ask(path, "get_server_list") is not None:
        print("An instance of this daemon is already running")
        return 1
    path.unlink(missing_ok=True)
    daemon = Daemon()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen(8)
    (pipe / "nvidia-cuda-mps-control.pid").write_text(f"{os.getpid()}\n")
    daemon.write(f"Starting control daemon using socket {path}")
    daemon.write(f"To connect CUDA applications to this daemon, set env CUDA_MPS_PIPE_DIRECTORY={pipe}")
    try:
        while not daemon.ending:
            connection, _ = listening.accept()
            with connection:
                received = connection.makefile().readline().strip()
                connection.sendall((daemon.answer(received) + "\n").encode())
    finally:
        path.unlink(missing_ok=True)
        (pipe / "nvidia-cuda-mps-control.pid").unlink(missing_ok=True)
    daemon.write("Exit")
    return 0


def _ask(path: Path, line: str) -> str | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return None
        connection.sendall((line + "\n").encode())
        return connection.makefile().read().rstrip("\n")


def main() -> int:
    """Run as ``nvidia-cuda-mps-control``."""
    if "-d" in sys.argv[1:]:
        if os.fork():
            return 0
        os.setsid()
        return serve()
    if "-f" in sys.argv[1:]:
        return serve()
    path = _folder("CUDA_MPS_PIPE_DIRECTORY", DEFAULT_PIPE) / "control"
    for line in sys.stdin:
        if line.strip():
            reply = _ask(path, line.strip())
            if reply is None:
                print("Cannot find MPS control daemon process")
                return 1
            if reply:
                print(reply)
    return 0


if __name__ == "__main__":
    sys.exit(main())
