"""Sets the defaults of an MPS control daemon and reads them back; runs as the daemon's own user."""

from __future__ import annotations

import os
import subprocess
import time

PROGRAM = "/usr/bin/nvidia-cuda-mps-control"
READY_SECONDS = 30


class DaemonError(Exception):
    """The daemon does not answer, or answers something else than it was told."""


def ask(command: str) -> tuple[int, str]:
    """Send one command to the daemon of this environment's pipe folder."""
    done = subprocess.run(
        [PROGRAM], input=f"{command}\n", capture_output=True, text=True, timeout=READY_SECONDS, check=False
    )
    return done.returncode, done.stdout.strip()


def settle_defaults() -> None:
    """Wait for the daemon, set what a client may have at most, and read it back.

    The defaults live in the daemon alone and are not validated there (NVIDIA MPS documentation, "Interface").
    """
    percentage = os.environ["GROUNDWORK_MPS_THREAD_PERCENTAGE"]
    memory = int(os.environ["GROUNDWORK_MPS_MEMORY_MIB"])
    deadline = time.monotonic() + READY_SECONDS
    while ask("get_default_active_thread_percentage")[0]:
        if time.monotonic() > deadline:
            raise DaemonError(f"no answer within {READY_SECONDS} s")
        time.sleep(0.1)
    ask(f"set_default_active_thread_percentage {percentage}")
    if memory:
        ask(f"set_default_device_pinned_mem_limit 0 {memory}M")
    text = ask("get_default_active_thread_percentage")[1]
    if float(text or 0) != float(percentage):
        raise DaemonError(f"the default thread percentage is {text!r} and not {percentage}")
    if memory:
        text = ask("get_default_device_pinned_mem_limit 0")[1]
        if text.upper().removesuffix("B") not in (f"{memory}M", f"{memory / 1024:g}G"):
            raise DaemonError(f"the default memory limit is {text!r} and not {memory}M")
