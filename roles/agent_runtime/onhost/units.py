"""The platform's units as systemd runs them: which of them lag behind, restarting, waiting until they are ready."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .layout import Layout

REVISION = "GROUNDWORK_REVISION"
# A unit that ended this often while it was to become ready will not become so.
ENDINGS = 3
POLL_SECONDS = 0.2
_PROPERTIES = "Id,LoadState,ActiveState,SubState,Result,MainPID,NRestarts,ExecMainStartTimestamp"


@dataclass(frozen=True)
class UnitState:
    """What systemd says about one unit; ``started`` in seconds since 1970."""

    name: str
    active: str = "inactive"
    sub: str = "dead"
    result: str = ""
    pid: int = 0
    endings: int = 0
    started: float = 0.0

    @property
    def is_ready(self) -> bool:
        """It said so, and has not ended since."""
        return self.active == "active"

    @property
    def has_failed(self) -> bool:
        """It will not become ready: gave up, was not ready in time, or keeps ending."""
        in_vain = self.sub.startswith("auto-restart") and self.result in ("timeout", "watchdog")
        return self.active == "failed" or in_vain or self.endings >= ENDINGS


def parse_states(text: str) -> list[UnitState]:
    """Unit states from the paragraphs of ``systemctl show``."""
    states = []
    for paragraph in text.strip().split("\n\n"):
        fields = dict(line.partition("=")[::2] for line in paragraph.splitlines())
        if fields.get("Id"):
            states.append(
                UnitState(
                    name=fields["Id"],
                    active=fields.get("ActiveState", "inactive"),
                    sub=fields.get("SubState", "dead"),
                    result=fields.get("Result", ""),
                    pid=int(fields.get("MainPID") or 0),
                    endings=int(fields.get("NRestarts") or 0),
                    started=_parse_time(fields.get("ExecMainStartTimestamp", "")),
                )
            )
    return states


def _parse_time(text: str) -> float:
    if not text or text == "n/a":
        return 0.0
    moment = text.split(" ", 1)[1]
    form = "%Y-%m-%d %H:%M:%S.%f UTC" if "." in moment else "%Y-%m-%d %H:%M:%S UTC"
    return datetime.strptime(moment, form).replace(tzinfo=UTC).timestamp()


class Systemd:
    """The service manager, as far as it is needed here."""

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run systemctl; CalledProcessError when it fails and ``check`` is set."""
        command = ["systemctl", "--no-ask-password", *arguments]
        return subprocess.run(command, check=check, capture_output=True, text=True, env=_PLAIN).stdout

    def show(self, units: Sequence[str]) -> dict[str, UnitState]:
        """The state of each unit by its name."""
        found: dict[str, UnitState] = {}
        for first in range(0, len(units), 500):
            batch = units[first : first + 500]
            text = self.run("show", "--timestamp=us+utc", f"--property={_PROPERTIES}", "--", *batch, check=False)
            found |= {state.name: state for state in parse_states(text)}
        return {unit: found.get(unit, UnitState(unit)) for unit in units}

    def read_revision(self, state: UnitState) -> str:
        """Revision of the inputs that the unit's main process was started with."""
        try:
            content = Path(f"/proc/{state.pid}/environ").read_bytes() if state.pid else b""
        except OSError:
            return ""
        found = [item for item in content.split(b"\0") if item.startswith(f"{REVISION}=".encode())]
        return found[0].decode().partition("=")[2] if found else ""

    def read_journal(self, unit: str, since: float) -> list[str]:
        """The unit's last lines in the journal, from ``since`` on."""
        command = ["journalctl", "--no-pager", "-q", "-o", "cat", "-n", "12", f"--since=@{since:.0f}", "-u", unit]
        return subprocess.run(command, capture_output=True, text=True, env=_PLAIN).stdout.splitlines()


_PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def list_stale(layout: Layout, systemd: Systemd, folder: Path, inputs: dict[str, Any]) -> list[str]:
    """Units that do not run, or run with other inputs than those in the generation's ``folder``."""
    states = systemd.show(list(inputs))
    stale = []
    for unit, declared in inputs.items():
        state = states[unit]
        written = [_time_of(folder / path, changed=False) for path in declared["files"]]
        written += [_time_of(layout.credentials / name, changed=True) for name in declared["credentials"]]
        older = max(written, default=0.0) > state.started
        if not state.is_ready or older or systemd.read_revision(state) != declared["revision"]:
            stale.append(unit)
    return stale


def _time_of(path: Path, changed: bool) -> float:
    try:
        status = path.stat()
    except OSError:
        return 0.0
    return status.st_ctime if changed else status.st_mtime


def wait_until_ready(
    systemd: Systemd, units: Iterable[str], seconds: float, sleep: Callable[[float], None] = time.sleep
) -> list[UnitState]:
    """Wait until all units are ready; returns those that failed, or are not ready after ``seconds``."""
    deadline = time.monotonic() + seconds
    waiting = list(units)
    while True:
        states = systemd.show(waiting) if waiting else {}
        failed = [state for state in states.values() if state.has_failed]
        waiting = [name for name, state in states.items() if not state.is_ready]
        if failed or not waiting:
            return failed
        if time.monotonic() >= deadline:
            return [states[name] for name in waiting]
        sleep(POLL_SECONDS)
