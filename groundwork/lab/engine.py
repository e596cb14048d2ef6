"""Finds a Docker engine, or installs and starts one where the machine has none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import docker
from docker.context import ContextAPI
from docker.errors import DockerException

from groundwork.lab.errors import lab_error
from groundwork.lab.privilege import install_packages, root_prefix, run_as_root
from groundwork.lab.state import write_atomically

SOCKET = Path("/var/run/docker.sock")
PID_FILE = Path("/var/run/docker.pid")
START_SECONDS = 60
# Calls such as committing an image take long on a slow disk.
CALL_SECONDS = 600
_REJOINED = "GROUNDWORK_REJOINED_GROUP"


def connect() -> docker.DockerClient | None:
    """Return a client of the first engine that answers: ``DOCKER_HOST``, Docker's context, the usual socket."""
    for address in _addresses():
        try:
            client = docker.DockerClient(base_url=address, timeout=CALL_SECONDS)
            client.ping()
        except (DockerException, OSError):
            continue
        return client
    return None


def _addresses() -> list[str]:
    if os.environ.get("DOCKER_HOST"):
        return [os.environ["DOCKER_HOST"]]
    found = []
    try:
        context = ContextAPI.get_current_context()
        found += [context.Host] if context and context.Host else []
    except (DockerException, OSError, ValueError):
        pass
    return list(dict.fromkeys([*found, f"unix://{SOCKET}"]))


def ensure_engine(root: Path, say: Callable[[str], None]) -> docker.DockerClient:
    """Return a client of a running engine, installing and starting Docker where needed.

    ``root`` is the checkout (the log and the record of a daemon started here go to its ``.lab/.engine``);
    ``say`` gets one line for each thing done. Raises ProblemError when no engine can be had.
    """
    client = connect()
    if client is not None:
        return client
    if os.environ.get("DOCKER_HOST"):
        raise lab_error("the Docker engine does not answer", key="DOCKER_HOST", given=os.environ["DOCKER_HOST"])
    if not (SOCKET.exists() and _daemon_runs()):
        missing = [name for name in ("dockerd", "iptables") if not _find(name)]
        if missing:
            say("installing Docker (docker.io, iptables)")
            install_packages(["docker.io", "iptables"])
        client = connect() or _start(root, say)
        if client is not None:
            return client
    _rejoin_docker_group()
    raise lab_error("the Docker engine runs but refuses us", key=str(SOCKET), allowed="root, or the group docker")


def is_installed() -> bool:
    """Tell whether this machine has a Docker daemon to start."""
    return _find("dockerd") is not None


def _find(command: str) -> str | None:
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _daemon_runs() -> bool:
    try:
        pid = int(PID_FILE.read_text())
        # After a reboot the file may be stale and its number another process's.
        return Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
    except (OSError, ValueError):
        return False


def _start(root: Path, say: Callable[[str], None]) -> docker.DockerClient | None:
    """Start the daemon; None when it runs but this user may not talk to it."""
    if Path("/run/systemd/system").is_dir():
        say("starting docker.service")
        run_as_root(["systemctl", "start", "docker"], "starting docker.service")
        return _wait(None, None)
    say("starting dockerd in the background (this machine runs no systemd)")
    folder = _record_folder(root)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder / "dockerd.log"
    write_atomically(folder / "dockerd.json", json.dumps({"started": True}) + "\n")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*root_prefix(), _find("dockerd") or "dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
        )
    return _wait(process, log)


def _wait(process: subprocess.Popen[bytes] | None, log: Path | None) -> docker.DockerClient | None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        client = connect()
        if client is not None:
            return client
        if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
            return None
        # Two that start at the same moment: the later one ends, and the earlier one is the one to wait for.
        if process is not None and process.poll() is not None and not _daemon_runs():
            break
        time.sleep(0.1)
    tail = log.read_text(errors="replace").strip().splitlines()[-3:] if log else []
    raise lab_error(f"dockerd did not start: {' '.join(' '.join(tail).split()) or 'see journalctl -u docker'}")


def _rejoin_docker_group() -> None:
    """Run this command again as a member of the group that may use the engine; returns only if impossible.

    A user who has sudo but is not (yet) in the group ``docker`` needs it for this process alone.
    """
    if os.geteuid() == 0 or os.environ.get(_REJOINED) or not SOCKET.exists():
        return
    groups = ",".join(map(str, [*os.getgroups(), SOCKET.stat().st_gid]))
    identity = [f"--reuid={os.getuid()}", f"--regid={os.getgid()}", f"--groups={groups}"]
    home = [f"HOME={Path.home()}", f"PATH={os.environ.get('PATH', '')}", f"{_REJOINED}=1"]
    keep = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(("GROUNDWORK_", "XDG_"))]
    again = [sys.executable, *sys.orig_argv[1:]]
    command = [*root_prefix(), "setpriv", *identity, "--", "env", *home, *keep, *again]
    os.execvp(command[0], command)


def _record_folder(root: Path) -> Path:
    return root / ".lab" / ".engine"


def started_here(root: Path) -> bool:
    """Tell whether the daemon that runs now was started by this checkout."""
    return (_record_folder(root) / "dockerd.json").exists() and _daemon_runs()


def stop_engine(root: Path) -> bool:
    """Stop the daemon if this checkout started it; returns whether it did. Its images stay on disk."""
    stopped = False
    if started_here(root):
        pid = int(PID_FILE.read_text())
        run_as_root(["kill", f"-{signal.SIGTERM.value}", str(pid)], "stopping dockerd")
        deadline = time.monotonic() + START_SECONDS
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        stopped = True
    shutil.rmtree(_record_folder(root), ignore_errors=True)
    return stopped
