"""Wheels of a package index, collected on the controller for another machine, so that hosts need no package index."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from groundwork.problems import Problem, ProblemError

PIP_SECONDS = 900
# Newest first; glibc 2.36 is Debian 12's, and wheels for an older one run on every newer one (PEP 600).
_GLIBC_MINORS = range(36, 16, -1)
_EPOCH = "315532800"  # 1980-01-01, the oldest time a zip can hold
_locks: dict[str, threading.Lock] = {}


@contextmanager
def locked(cache: Path, name: str) -> Iterator[None]:
    """Exclude other greenlets of this process, then other processes; waiting lets other greenlets run."""
    cache.mkdir(parents=True, exist_ok=True)
    with _locks.setdefault(f"{cache.name}/{name}", threading.Lock()), (cache / f".{name}.lock").open("w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        yield


def download_wheels(folder: Path, python: str, machine: str, what: Sequence[str], key: str) -> None:
    """Download wheels with pip.

    Args:
        folder: where they go.
        python: minor version of the Python that they are for (``3.13``).
        machine: its architecture (``x86_64``).
        what: pip's arguments that say which wheels.
        key: the manifest's key that a problem names.

    Raises ProblemError when one cannot be had or has another digest than its requirement.
    """
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    abi = f"cp{python.replace('.', '')}"
    arguments = ["download", "--dest", str(folder), "--only-binary=:all:", "--implementation", "cp"]
    arguments += ["--python-version", python, "--abi", abi, "--abi", "abi3", "--abi", "none"]
    arguments += [part for platform in platforms for part in ("--platform", platform)]
    message = f"the dependencies cannot be downloaded for Python {python} on {machine}"
    run_pip([*arguments, *what], message, key)


def run_pip(arguments: Sequence[str], message: str, key: str) -> None:
    """Run pip, and raise ProblemError with the message and what pip says when it fails or takes 15 minutes."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", *arguments]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PIP_SECONDS)
        failed, told = done.returncode != 0, done.stderr or done.stdout
    except subprocess.TimeoutExpired:
        failed, told = True, f"no end within {PIP_SECONDS} s"
    if failed:
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        errors = [line for line in lines if re.search(r"error", line, re.IGNORECASE)] or lines[-3:]
        reason = " / ".join(re.sub(r"https?://\S+", "(the package index)", line) for line in errors[:3])[:600]
        raise ProblemError([Problem(f"{message}: {reason or 'pip says nothing'}", key=key)])
