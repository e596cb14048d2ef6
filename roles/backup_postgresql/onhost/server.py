"""The running PostgreSQL and its units, as a restore on the database's host deals with them."""

from __future__ import annotations

import re
import subprocess
import time
from datetime import UTC, datetime

from .settings import Settings

SHORT = 60
"""Seconds that an answer of the server may take."""
STEP = 0.2
"""Seconds between two looks at something that is waited for."""


class ServerError(Exception):
    """PostgreSQL did not do what a restore needs, in one line."""


def ask(settings: Settings, query: str, database: str = "postgres") -> str:
    """Put a question to the server as its superuser, over its local socket. Raises ServerError."""
    where = f"host={settings.sockets} port={settings.port} user=postgres dbname={database} connect_timeout=10"
    command = ["runuser", "-u", "postgres", "--", "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", where]
    done = subprocess.run(command, input=query, capture_output=True, text=True, cwd="/", timeout=SHORT, check=False)
    if done.returncode:
        raise ServerError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "PostgreSQL does not answer")
    return done.stdout.strip()


def serves(settings: Settings) -> bool:
    """Whether the server answers and takes writes."""
    try:
        return ask(settings, "SELECT pg_is_in_recovery();") == "f"
    except (ServerError, subprocess.TimeoutExpired):
        return False


def systemctl(verb: str, unit: str) -> None:
    """Start or stop a unit and wait for it. Raises ServerError."""
    if verb != "stop":
        # systemd counts starts, and refuses a unit that had many: restores one after the other are no failures.
        subprocess.run(["systemctl", "reset-failed", "--", unit], capture_output=True, check=False)
    done = subprocess.run(["systemctl", verb, "--", unit], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"systemctl {verb} {unit}: {done.stderr.strip()[-300:]}")


def is_active(unit: str) -> bool:
    """Whether a unit runs or is about to."""
    done = subprocess.run(["systemctl", "is-active", "--", unit], capture_output=True, text=True, check=False)
    return done.stdout.strip() in ("active", "activating", "reloading")


def archive_now(settings: Settings) -> None:
    """Have the server archive everything up to now, and wait until it has. Raises ServerError.

    The commit of a transaction of its own comes after any moment before now: recovery to a moment ends at the first
    commit after it, and fails where there is none.
    """
    segment = ask(
        settings, "SELECT pg_current_xact_id() \\g /dev/null\nSELECT pg_walfile_name(pg_switch_wal()) \\g\n"
    ).splitlines()[-1]
    deadline = time.monotonic() + SHORT
    while time.monotonic() < deadline:
        last = ask(settings, "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver;")
        if last[:24] >= segment:
            return
        time.sleep(STEP)
    raise ServerError(f"segment {segment} of the log was not archived within {SHORT} s")


def start_recovery(settings: Settings) -> None:
    """Start the server on what was fetched. Raises ServerError with its own words where it gives up."""
    try:
        systemctl("start", settings.unit)
    except ServerError:
        raise _give_up(settings) from None


def wait_for_recovery(settings: Settings, limit: float) -> None:
    """Wait until the started server has reached its target and takes writes. Raises ServerError with its own words."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if serves(settings):
            return
        if not is_active(settings.unit) or _was_restarted(settings.unit):
            raise _give_up(settings)
        time.sleep(STEP)
    raise ServerError(f"recovery did not end within {limit:.0f} s")


def _was_restarted(unit: str) -> bool:
    """Whether systemd has started it again by itself: what it failed at, it fails at again."""
    command = ["systemctl", "show", "--property=NRestarts", "--value", "--", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() not in ("", "0")


def _give_up(settings: Settings) -> ServerError:
    """Stop a server that cannot recover, and say why it cannot."""
    words = _last_words(settings)
    subprocess.run(["systemctl", "stop", "--", settings.unit], capture_output=True, check=False)
    return ServerError(f"recovery failed: {words}")


def read_commits(settings: Settings, path: str) -> list[float]:
    """When the transactions in a segment of the log were committed, in the order of the log (pg_waldump).

    What follows the last record of a segment is not of this log, and pg_waldump's complaint about it no error.
    """
    version = settings.data.split("/")[-2]
    command = ["runuser", "-u", "postgres", "--", f"/usr/lib/postgresql/{version}/bin/pg_waldump"]
    command += ["--rmgr=Transaction", path]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env={"TZ": "UTC", "PATH": "/usr/bin:/usr/sbin"}, check=False
    )
    found = []
    for line in done.stdout.splitlines():
        match = re.search(r"desc: COMMIT(?:_PREPARED)? (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC", line)
        if match:
            found.append(datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp())
    return found


def _last_words(settings: Settings) -> str:
    command = ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={settings.unit}", "--lines=200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    fatal = [line for line in done.stdout.splitlines() if "FATAL" in line or "PANIC" in line]
    if any("before configured recovery target was reached" in line for line in fatal[-3:]):
        return "the archive has no commit after the moment: restore an earlier one, or everything that is archived"
    return fatal[-1].partition(":  ")[2] if fatal else f"journalctl -u {settings.unit}"
