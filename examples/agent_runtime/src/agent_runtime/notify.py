"""Messages to the service manager (the sd_notify protocol) and the watchdog."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Sends state lines to the socket that systemd names in NOTIFY_SOCKET; without one it does nothing."""

    def __init__(self, address: str | None) -> None:
        # "@" stands for the leading zero byte of an abstract socket (sd_notify(3)).
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._status = ""

    def send(self, *lines: str) -> None:
        """Send lines such as `READY=1`. A full or missing socket is logged, never raised."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("service manager not notified: %s", error.strerror)

    def ready(self) -> None:
        """Say that start-up is complete."""
        self.send("READY=1", "STATUS=ready")
        self._status = "ready"

    def status(self, text: str) -> None:
        """Say what the process does, when that has changed since the last call."""
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")

    def stopping(self) -> None:
        """Say that the process has begun to stop."""
        self.send("STOPPING=1", "STATUS=finishing work in flight")


def read_watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Return the time in seconds after which systemd ends a silent process, or None if it watches none.

    WATCHDOG_PID, when given, names the process that is meant (sd_watchdog_enabled(3)).
    """
    owner = environ.get("WATCHDOG_PID")
    if owner and owner != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isdecimal() and int(text) > 0 else None


async def feed_watchdog(notifier: Notifier, seconds: float, find_problems: Callable[[], list[str]]) -> None:
    """Ping the watchdog at half its time for as long as nothing is wrong.

    A hung event loop cannot run this task, and a problem withholds the ping: both end in a restart by systemd.
    """
    while True:
        problems = find_problems()
        if problems:
            log.error("watchdog not pinged", extra={"problems": problems})
            notifier.status("unhealthy: " + "; ".join(problems)[:200])
        else:
            notifier.send("WATCHDOG=1")
        await asyncio.sleep(seconds / 2)
