"""Runs the judge on a host, whatever way there is to run commands there."""

from __future__ import annotations

import base64
import gzip
import time
from pathlib import Path
from typing import Protocol

from groundwork.problems import Problem, ProblemError
from groundwork.scan.results import PREFIX, ScanResult, parse_results

FOLDER = "/var/tmp/groundwork-scan"
SCANNER = "openscap-scanner"
SCAN_SECONDS = 1800


class Shell(Protocol):
    """Runs a command as root on the host, with text for its standard input; returns its output.

    Raises ProblemError when it fails.
    """

    def __call__(self, command: str, given: str = "", timeout: float = 600) -> str:
        """Run it; ``timeout``: seconds without output."""


def scan(shell: Shell, host: str, release: str, stream: Path, profiles: list[str]) -> list[ScanResult]:
    """Judge a host by profiles of a data stream. Installs the scanner where it is missing, and removes it again.

    Raises ProblemError when the host cannot be scanned.
    """
    before = shell(f"dpkg-query -W -f '${{db:Status-Status}}' {SCANNER} 2>/dev/null || true").strip()
    try:
        if before != "installed":
            apt = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300"
            install = f"{apt} install --no-install-recommends {SCANNER}"
            shell(f"{apt} update >/dev/null && {install} >/dev/null", timeout=SCAN_SECONDS)
        packed = base64.b64encode(gzip.compress(stream.read_bytes())).decode()
        shell(f"umask 077; mkdir -p {FOLDER} && base64 -d | gunzip > {FOLDER}/stream.xml", packed)
        return [_evaluate(shell, host, release, profile) for profile in profiles]
    finally:
        shell(f"rm -rf {FOLDER}")
        if before != "installed":
            shell(f"DEBIAN_FRONTEND=noninteractive apt-get -q -y autoremove --purge {SCANNER} >/dev/null 2>&1 || true")


def _evaluate(shell: Shell, host: str, release: str, profile: str) -> ScanResult:
    started = time.monotonic()
    options = f"--profile {PREFIX}profile_{profile} --results {FOLDER}/results.xml"
    command = f"cd {FOLDER} && rm -f results.xml; oscap xccdf eval {options} {FOLDER}/stream.xml >oscap.log 2>&1"
    # 2: a rule failed, which is what we are here for.
    packed = shell(
        f"{command}; test $? -ne 1 || {{ tail -5 oscap.log >&2; exit 1; }}; gzip -c results.xml | base64",
        timeout=SCAN_SECONDS,
    )
    try:
        rules = parse_results(gzip.decompress(base64.b64decode(packed)).decode())
    except (ValueError, OSError) as error:
        raise ProblemError([Problem(str(error), key=host)]) from error
    seconds = round(time.monotonic() - started, 1)
    return ScanResult(host=host, release=release, profile=profile, rules=rules, seconds=seconds)
