"""Runs the checks of ``tests/verify`` against an environment, in one pytest process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from groundwork.engine.api import name_environment
from groundwork.engine.checks import Check, VerifyResult
from groundwork.engine.redaction import Redactor
from groundwork.problems import Problem, ProblemError

CHECKS = Path(__file__).resolve().parents[2] / "tests" / "verify"
NO_CHECKS = 5
"""pytest's exit code when it collected nothing."""


def verify(
    environment: str,
    *,
    limit: Sequence[str] = (),
    root: Path | None = None,
    junit: Path | None = None,
    workers: int = 0,
    on_check: Callable[[Check], None] | None = None,
) -> VerifyResult:
    """Check on the live hosts that an environment is as declared; changes nothing.

    Args:
        environment: name of an inventory.
        limit: names of hosts or groups; empty means every host.
        root: directory of the checkout.
        junit: file for a JUnit report.
        workers: hosts verified side by side (0 or 1: one after the other).
        on_check: called with every check as it ends.

    Raises:
        ProblemError: the inventory or the manifest is wrong; nothing was contacted.
    """
    from groundwork.engine.selection import select_hosts
    from groundwork.site import find_root, load_site

    folder = (root or find_root()).resolve()
    name = name_environment(environment)
    site = load_site(name, folder)
    select_hosts(site, "", limit)
    redact = Redactor(_secret_values(site.secrets))
    started = time.monotonic()
    checks: list[Check] = []
    reading, writing = os.pipe()
    command = _command(name, limit, f"/dev/fd/{writing}", junit, workers)
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=printed,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=(writing,),
        )
        os.close(writing)
        interrupted = False
        try:
            with os.fdopen(reading, encoding="utf-8") as lines:
                for line in lines:
                    check = _read(line, redact)
                    if check is not None:
                        checks.append(check)
                        if on_check is not None:
                            on_check(check)
            code = process.wait()
        except KeyboardInterrupt:
            interrupted = True
            process.send_signal(signal.SIGINT)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
        printed.seek(0)
        said = redact(printed.read().decode(errors="replace"))
    if junit is not None and junit.exists():
        junit.write_text(redact(junit.read_text()))
    return VerifyResult(
        environment=name,
        checks=tuple(checks),
        problems=() if interrupted else _problems(code, said),
        interrupted=interrupted,
        seconds=round(time.monotonic() - started, 3),
    )


def _command(name: str, limit: Sequence[str], target: str, junit: Path | None, workers: int) -> list[str]:
    command = [sys.executable, "-m", "pytest", str(CHECKS), "--env", name, "--checks-to", target]
    command += ["-q", "--tb=short", "-p", "no:cacheprovider"]
    for pattern in limit:
        command += ["--limit", pattern]
    if junit is not None:
        command += ["--junitxml", str(junit.resolve())]
    if workers > 1:
        command += ["-n", str(workers), "--dist", "loadscope"]
    return command


def _read(line: str, redact: Redactor) -> Check | None:
    try:
        check = Check.model_validate_json(line)
    except ValidationError:
        return None
    return check.model_copy(update={"reason": redact(check.reason)})


def _problems(code: int, said: str) -> tuple[Problem, ...]:
    if code in (0, 1):
        return ()
    if code == NO_CHECKS:
        return (Problem("there are no checks to run", file=str(CHECKS)),)
    tail = "\n".join(said.strip().splitlines()[-15:])
    return (Problem(f"pytest ended with code {code}\n{tail}"),)


def _secret_values(store: object) -> list[str]:
    from groundwork.secrets.store import SecretStore

    assert isinstance(store, SecretStore)
    values: list[str] = []
    for name in store.names():
        try:
            values.append(store.read(name).reveal())
        except ProblemError:
            continue
    return values
