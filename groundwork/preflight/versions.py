"""Whether a host has, or is offered, a package of the version that the manifest asks for."""

from __future__ import annotations

import re

from groundwork.preflight.findings import Finding, judge, skip
from groundwork.preflight.questions import Answers


def ask_version(package: str) -> dict[str, str]:
    """The question for a package's installed and offered versions; the lists that apt has are read, not renewed."""
    # apt-cache prints "  Installed: (none)" and "  Candidate: 5:8.0.2-3"; nothing for a package it has not heard of.
    command = f"apt-cache policy {package} | sed -n 's/^  \\(Installed\\|Candidate\\): //p'"
    return {f"version_{package}": command, "package_lists": "ls /var/lib/apt/lists | grep -c _Packages"}


def read_version(answers: Answers, package: str) -> tuple[str, bool]:
    """The version (without epoch) that the host has, or else would get, and whether it has it; empty when neither."""
    lines = [line.strip() for line in answers.lines(f"version_{package}")]
    for line, installed in zip(lines, (True, False), strict=False):
        if line != "(none)":
            return re.sub(r"^[0-9]+:", "", line), installed
    return "", False


def parse_version(text: str) -> tuple[int, ...]:
    """The numbers at a version's head: ``8.0.2-3+deb13u1`` gives 8, 0, 2."""
    match = re.match(r"[0-9]+(\.[0-9]+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def check_version(check: str, host: str, answers: Answers, package: str, minimum: str | None, key: str) -> Finding:
    """Judge a package against the oldest version that serves; ``key`` is where the manifest says it."""
    version, installed = read_version(answers, package)
    if not version and answers.text("package_lists") == "0":
        return skip(check, host, f"apt has no lists yet; the first apply fetches them and installs {package}")
    if not version:
        evidence = f"apt on the host knows no package {package}"
        return judge(check, host, False, evidence, "apt-get update; see network.sources")
    wanted = parse_version(minimum or "0")
    have = parse_version(version)[: len(wanted)]
    evidence = f"{package} {version} {'is installed' if installed else 'is offered'}"
    evidence += f", at least {minimum} is declared" if minimum else ""
    remedy = f"add a package source that has it, use a newer Debian, or lower {key}"
    return judge(check, host, have >= wanted, evidence, remedy)
