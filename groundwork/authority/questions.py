"""What is asked of a host about its certificates, as shell commands, and how the answers are read."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from groundwork.authority.installed import Installed
from groundwork.authority.paths import CONFIGURATION

# Begins a line of its own; PEM has no such line.
MARK = "#groundwork "


@dataclass(frozen=True)
class HostCertificates:
    """The installed identities by unit, and the host's clock (seconds since 1970; None where it was not asked)."""

    clock: float | None = None
    units: dict[str, Installed] = field(default_factory=dict)


def ask_certificates(platform: str, units: Iterable[str]) -> str:
    """A shell command for ``parse_certificates``; it prints public parts only and needs root for the keys'."""
    return (
        f"echo '{MARK}clock' $(date +%s); {_each_unit(platform, units)} "
        f'test -e "$unit/current" || continue; echo "{MARK}unit $unit"; '
        f'stat -L -c \'{MARK}stat %U:%G %a\' -- "$unit/current/key.pem" "$unit/current/certificate.pem" '
        "2>/dev/null || true; "
        f"echo '{MARK}key'; openssl pkey -in \"$unit/current/key.pem\" -pubout </dev/null 2>/dev/null || true; "
        f"echo '{MARK}certificate'; cat \"$unit/current/certificate.pem\" 2>/dev/null || true; done"
    )


def ask_requests(platform: str, units: Iterable[str]) -> str:
    """A shell command for ``parse_requests``."""
    return (
        f'{_each_unit(platform, units)} test -f "$unit/.new/request.pem" || continue; echo "{MARK}unit $unit"; '
        'head -c 20000 -- "$unit/.new/request.pem"; done'
    )


def _each_unit(platform: str, units: Iterable[str]) -> str:
    folder = shlex.quote(f"{CONFIGURATION}/{platform}/certificates")
    return f"cd {folder} 2>/dev/null || exit 0; for unit in {shlex.join(units)}; do"


def parse_certificates(lines: Iterable[str]) -> HostCertificates:
    """Read what the command of ``Certificates`` prints."""
    clock: float | None = None
    found: dict[str, dict[str, list[str]]] = {}
    section: list[str] = []
    parts: dict[str, list[str]] = {}
    for line in lines:
        if not line.startswith(MARK):
            section.append(line)
            continue
        kind, _, rest = line.removeprefix(MARK).partition(" ")
        if kind == "clock":
            clock = float(rest)
        elif kind == "unit":
            parts = found.setdefault(rest, {})
        elif kind == "stat":
            parts.setdefault("stat", []).append(rest)
        else:
            section = parts.setdefault(kind, [])
    return HostCertificates(clock, {unit: _build(parts) for unit, parts in found.items()})


def _build(parts: dict[str, list[str]]) -> Installed:
    stats = [line.split() for line in parts.get("stat", [])]
    # One of the two is missing: which, does not matter, a new pair is needed anyway.
    owners = (stats[0][0], stats[1][0]) if len(stats) == 2 else ("", "")
    modes = (stats[0][1], stats[1][1]) if len(stats) == 2 else ("", "")
    return Installed("\n".join(parts.get("certificate", [])), "\n".join(parts.get("key", [])), owners, modes)


def parse_requests(lines: Iterable[str]) -> dict[str, str]:
    """Read what the command of ``Requests`` prints."""
    found: dict[str, list[str]] = {}
    section: list[str] = []
    for line in lines:
        if line.startswith(f"{MARK}unit "):
            section = found.setdefault(line.removeprefix(f"{MARK}unit "), [])
        else:
            section.append(line)
    return {unit: "\n".join(text) + "\n" for unit, text in found.items()}
