"""Runs the few commands of the lab that need root: installing packages, starting the engine, debootstrap."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from groundwork.lab.errors import lab_error


def root_prefix() -> list[str]:
    """Return what to put before a command to run it as root: nothing, or ``sudo``; ProblemError without both."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        raise lab_error("root is needed here and there is no sudo", allowed="run as root, or install sudo")
    # Asks for the password once, at a place where the question makes sense; sudo then remembers it.
    ask = ["sudo", "-v"] if sys.stdin.isatty() else ["sudo", "-n", "true"]
    if subprocess.run(ask, check=False, capture_output=not sys.stdin.isatty()).returncode != 0:
        raise lab_error("sudo asks for a password and there is no terminal to type it", allowed="run as root")
    return ["sudo"]


def run_as_root(command: Sequence[str], what: str, timeout: float = 900) -> str:
    """Run a command as root and return its output; ProblemError with its last lines when it fails.

    ``timeout`` in seconds; ``what`` names the step in the error.
    """
    full = [*root_prefix(), *command]
    try:
        done = subprocess.run(full, check=False, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise lab_error(f"{what} did not finish within {timeout:.0f} s") from error
    except OSError as error:
        raise lab_error(f"{what} could not start: {error}") from error
    if done.returncode != 0:
        tail = " / ".join((done.stdout + done.stderr).strip().splitlines()[-4:])
        raise lab_error(f"{what} failed: {tail}")
    return done.stdout


def install_packages(packages: Sequence[str]) -> None:
    """Install Debian packages on this machine, waiting up to 5 minutes for another apt to finish."""
    if shutil.which("apt-get") is None:
        raise lab_error(f"{', '.join(packages)} needed, and this machine has no apt-get", allowed="Debian")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"]
    run_as_root([*apt, "update"], "apt-get update")
    run_as_root([*apt, "install", "-y", "--no-install-recommends", *packages], f"installing {' '.join(packages)}")
