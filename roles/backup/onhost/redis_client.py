"""Asks one Redis of this host, as root's own user, through Debian's redis-cli."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from .settings import JobError, Settings, read_secret

PROGRAM = "/usr/bin/redis-cli"
OPERATOR = "_operator"


class Redis:
    """One server."""

    def __init__(self, settings: Settings, server: dict[str, Any]) -> None:
        self.settings, self.server = settings, server
        self.name = str(server["instance"])
        self._password = read_secret(server["password_file"])

    def ask(self, *words: str) -> str:
        """The answer to one command. Raises JobError for an error, or where nobody answers."""
        settings = self.settings
        command = [PROGRAM, "--raw", "--no-auth-warning", "-h", str(self.server["address"])]
        command += ["-p", str(self.server["port"]), "--tls", "--cacert", settings.authority]
        command += ["--cert", settings.certificate, "--key", settings.key, "--user", OPERATOR, "-t", "10"]
        environment = {"PATH": os.defpath, "REDISCLI_AUTH": self._password}
        # redis-cli of Debian 12 has no -t; it would take it for a command.
        result = subprocess.run([*command[:-2], *words], env=environment, capture_output=True, timeout=60)
        text = result.stdout.decode("utf-8", "replace").strip()
        told = text or result.stderr.decode("utf-8", "replace").strip()
        if result.returncode or text.startswith(("ERR ", "NOAUTH ", "WRONGPASS ", "NOPERM ", "LOADING ", "MISCONF ")):
            raise JobError(f"{self.name}: {words[0]}: {told or 'no answer'}")
        return text

    def info(self, section: str) -> dict[str, str]:
        """One section of INFO."""
        lines = (line.strip() for line in self.ask("INFO", section).splitlines())
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def setting(self, name: str) -> str:
        """One setting."""
        lines = self.ask("CONFIG", "GET", name).splitlines()
        if len(lines) < 1:
            raise JobError(f"{self.name}: it has no setting {name}")
        return lines[1].strip() if len(lines) > 1 else ""

    def wait(self, what: str, done: Callable[[], bool], seconds: float) -> None:
        """Wait until it came true. Raises JobError when it did not within ``seconds``."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise JobError(f"{self.name}: {what} took longer than {seconds:.0f} s")
            time.sleep(0.2)
