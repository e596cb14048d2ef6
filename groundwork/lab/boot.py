"""Waits until a host can be worked with, by the only proof that counts: a login over SSH."""

from __future__ import annotations

import time
from pathlib import Path

import paramiko

from groundwork.lab.errors import lab_error

USER = "debian"
BOOT_SECONDS = 60
_RETRY_SECONDS = 0.1


def open_session(address: str, key_file: Path, known_hosts_file: Path, timeout: float = 5) -> paramiko.SSHClient:
    """Log in as ``debian`` with strict host key checking; ``timeout`` in seconds for each step."""
    client = paramiko.SSHClient()
    client.load_host_keys(str(known_hosts_file))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    client.connect(
        address,
        username=USER,
        pkey=paramiko.Ed25519Key.from_private_key_file(str(key_file)),
        timeout=timeout,
        banner_timeout=timeout,
        auth_timeout=timeout,
        allow_agent=False,
        look_for_keys=False,
    )
    return client


def wait_for_boot(name: str, address: str, key_file: Path, known_hosts_file: Path) -> str:
    """Wait until systemd has finished starting; returns its state (``running`` or ``degraded``).

    Raises ProblemError after 60 s without a login.
    """
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            session = open_session(address, key_file, known_hosts_file)
            break
        except (paramiko.SSHException, OSError) as error:
            # During boot pam_nologin refuses even a good key, so an authentication error is no final answer.
            if isinstance(error, paramiko.BadHostKeyException) or time.monotonic() > deadline:
                raise lab_error(f"no SSH login at {address}: {error}", key=name) from error
            time.sleep(_RETRY_SECONDS)
    with session:
        command = f"timeout {BOOT_SECONDS} systemctl is-system-running --wait"
        _, output, _ = session.exec_command(command, timeout=BOOT_SECONDS + 5)
        return str(output.read().decode().strip()) or "unknown"
