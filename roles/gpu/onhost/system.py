"""The service manager and the processes of this host, as far as they matter to a card."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_UNIT = re.compile(r"/([^/]+\.service)(?:/|$)")
START_SECONDS = 900


class UnitError(Exception):
    """A unit did not start or stop."""


class System:
    """This host's units and processes."""

    def _systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["systemctl", "--no-ask-password", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=_PLAIN, check=False, timeout=START_SECONDS)

    def active(self, units: Sequence[str]) -> list[str]:
        """Those of the units that run, or are about to, in the given order."""
        states = self._show(units, "ActiveState")
        return [unit for unit in units if states.get(unit) in ("active", "activating", "reloading", "deactivating")]

    def loaded(self, units: Sequence[str]) -> list[str]:
        """Those of the units that the host has a unit file of."""
        states = self._show(units, "LoadState")
        return [unit for unit in units if states.get(unit) == "loaded"]

    def _show(self, units: Sequence[str], wanted: str) -> dict[str, str]:
        if not units:
            return {}
        text = self._systemctl("show", f"--property=Id,{wanted}", "--", *units).stdout
        paragraphs = [dict(line.partition("=")[::2] for line in part.splitlines()) for part in text.split("\n\n")]
        return {fields["Id"]: fields.get(wanted, "") for fields in paragraphs if "Id" in fields}

    def stop(self, units: Sequence[str]) -> None:
        """Stop units and wait until they have ended. UnitError where one goes on."""
        if units:
            self._systemctl("stop", "--", *units)
            left = self.active(units)
            if left:
                raise UnitError(f"{', '.join(left)}: does not stop")

    def start(self, units: Sequence[str]) -> None:
        """Start units and wait until they are ready. UnitError where one is not."""
        if units:
            self._systemctl("reset-failed", "--", *units)
            done = self._systemctl("start", "--", *units)
            left = sorted(set(units) - set(self.active(units)))
            if done.returncode or left:
                raise UnitError(f"{', '.join(left or units)}: does not start: {done.stderr.strip()}")

    def restart(self, unit: str) -> None:
        """Restart one unit. UnitError where it does not become ready."""
        self.stop([unit])
        self.start([unit])

    def unit_of(self, pid: int) -> str:
        """The service that a process belongs to; empty for a session's, and for one that has ended."""
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return ""
        found = _UNIT.findall(text)
        # A login's processes are below user@1000.service, which is no service of its own.
        return found[-1] if found and not found[-1].startswith("user@") else ""

    def device_users(self, index: int) -> list[int]:
        """Processes that have a card's device file open, whether nvidia-smi lists them or not."""
        device = f"/dev/nvidia{index}"
        found = set()
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if str(link.readlink()) == device:
                    found.add(int(link.parts[2]))
            except OSError:
                continue
        return sorted(found - {os.getpid()})

    def terminate(self, pids: Sequence[int]) -> None:
        """Ask processes to end."""
        for pid in pids:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def boot(self) -> str:
        """What tells this boot from another."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_names(path: Path) -> list[str]:
    """A list of names from a file; empty where there is none."""
    try:
        names: list[str] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return names
