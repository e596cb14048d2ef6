"""Programs that unit tests start, and the Debian packages that have them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

# Without these, tests are skipped; a run that is meant to prove something must not skip them unnoticed.
PACKAGES = {
    "redis-server": "redis-server",
    "redis-cli": "redis-tools",
    "openssl": "openssl",
    "systemd-analyze": "systemd",
    "nats-server": "nats-server",
    "pgbouncer": "pgbouncer",
    "gpg": "gpg",
    "gpgv": "gpgv",
    "dpkg-deb": "dpkg",
    "sshd": "openssh-server",
    "sudo": "sudo",
    # The server itself lies outside the path; this comes with it.
    "pg_ctlcluster": "postgresql",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
}
SLOW_PACKAGES = {"chromium": "chromium"}
"""What only the slow tests start."""
# Started by the tests themselves, on ports of their own; the package's own service is of no use here.
SERVICES = {
    "redis-server": "redis-server.service",
    "nats-server": "nats-server.service",
    "pgbouncer": "pgbouncer.service",
    "sshd": "ssh.service",
    "pg_ctlcluster": "postgresql.service",
    "promtool": "prometheus.service",
    "amtool": "prometheus-alertmanager.service",
}
POLICY = Path("/usr/sbin/policy-rc.d")


def list_missing(slow: bool = False) -> list[str]:
    """Names of the programs that this machine lacks; with ``slow`` also those of the slow tests."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    wanted = [*PACKAGES, *(SLOW_PACKAGES if slow else ())]
    return [program for program in wanted if shutil.which(program, path=path) is None]


def install_missing(say: Callable[[str], None], slow: bool = False) -> None:
    """Install what is missing, where that is possible, and say what is done or left out; starts no service.

    With ``slow`` also what only the slow tests start.
    """
    from groundwork.lab.privilege import install_packages
    from groundwork.problems import ProblemError

    missing = list_missing(slow)
    if not missing:
        return
    packages = sorted({(PACKAGES | SLOW_PACKAGES)[program] for program in missing})
    say(f"installing what the unit tests start: {', '.join(packages)}")
    try:
        held = _hold_services()
        try:
            install_packages(packages)
        finally:
            if held:
                _run("rm", "-f", str(POLICY))
        _disable(SERVICES[program] for program in missing if program in SERVICES)
    except ProblemError as error:
        say(f"tests that need {', '.join(missing)} will be skipped: {error}")


def _hold_services() -> bool:
    """Keep packages from starting their services (Debian Policy 9.3.3); returns whether that was not so before."""
    if POLICY.exists():
        return False
    _run("sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod 0755 {POLICY}")
    return True


def _disable(units: Iterable[str]) -> None:
    if Path("/run/systemd/system").is_dir():
        for unit in units:
            _run("systemctl", "disable", unit)


def _run(*command: str) -> None:
    from groundwork.lab.privilege import run_as_root

    run_as_root(command, command[0])
