"""The shell script that puts one file in place: written aside, checked, then renamed over the old one."""

from __future__ import annotations

import base64
import hashlib
import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

STAGING = ".groundwork-candidate"
PLACEHOLDER = "{candidate}"


class ScriptInput:
    """Standard input of a command, as pyinfra wants it; printing it does not show it.

    The content travels as base64 because pyinfra adds a line end to what lacks one.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    def readlines(self) -> list[str]:
        """The lines to send."""
        return [base64.b64encode(self._content).decode() + "\n"]

    def __repr__(self) -> str:
        return f"ScriptInput({len(self._content)} bytes)"


@dataclass(frozen=True)
class Placement:
    """Where a file goes and how: absolute path, owner, permission bits, and what must accept it first.

    ``check`` is an argument list or a line of shell with ``{candidate}`` where the path of the file to judge
    goes; ``check_user`` runs it as that user. ``quiet`` keeps the check's output back (it may quote a
    secret). ``folder_mode`` is for the directory, where it has to be made.
    """

    dest: str
    user: str
    group: str
    mode: int
    check: str | Sequence[str] | None = None
    check_user: str | None = None
    quiet: bool = False
    folder_mode: int = 0o755

    def __post_init__(self) -> None:
        if not self.dest.startswith("/") or posixpath.normpath(self.dest) != self.dest:
            raise ValueError(f"{self.dest!r} is not an absolute, plain path")
        if self.check is not None and PLACEHOLDER not in (
            self.check if isinstance(self.check, str) else " ".join(self.check)
        ):
            raise ValueError(f"the check of {self.dest} does not say {PLACEHOLDER}")

    @property
    def candidate(self) -> str:
        """Where the content waits: the same file name (``systemd-analyze verify`` judges by name) on the same
        file system (only then is the rename atomic), in a hidden directory that no ``*`` include reads."""
        folder, name = posixpath.split(self.dest)
        return posixpath.join(folder, STAGING, name)


def parse_mode(mode: str | int) -> int:
    """Permission bits from ``"0640"``, ``"640"`` or the number 0o640; ValueError for anything else."""
    bits = int(mode, 8) if isinstance(mode, str) else mode
    if not 0 <= bits <= 0o7777:
        raise ValueError(f"{mode!r} is not a file mode")
    return bits


def compute_digest(content: bytes) -> str:
    """SHA-256 in hexadecimal, as the fact ``PlacedFile`` gives it."""
    return hashlib.sha256(content).hexdigest()


def build_check(placement: Placement) -> str:
    """The check as one shell command on the candidate; an empty string where there is none."""
    if placement.check is None:
        return ""
    if isinstance(placement.check, str):
        command = placement.check.replace(PLACEHOLDER, shlex.quote(placement.candidate))
    else:
        command = shlex.join(part.replace(PLACEHOLDER, placement.candidate) for part in placement.check)
    if placement.check_user:
        command = shlex.join(["runuser", "-u", placement.check_user, "--", "sh", "-c", command])
    return command


def build_script(placement: Placement) -> str:
    """A POSIX shell script that reads base64 from standard input and puts the file in place.

    Whatever ends it, the old file stays whole; what it leaves behind when killed, the next run for that
    directory sweeps away.
    """
    quote = shlex.quote
    folder = posixpath.dirname(placement.dest)
    stage = posixpath.dirname(placement.candidate)
    lines = [
        "set -eu",
        "umask 077",
        # Those above it are for everyone to pass through.
        f"test -d {quote(folder)} ||",
        f"  ( umask 022; mkdir -p -m {placement.folder_mode:04o} -- {quote(folder)} )",
        f"rm -rf -- {quote(stage)}",
        f"trap {quote('rm -rf -- ' + quote(stage))} EXIT",
        # Passable for others, since a check may run as the user who will read the file; not listable.
        f"mkdir -m 0711 -- {quote(stage)}",
        f"candidate={quote(placement.candidate)}",
        'base64 -d > "$candidate"',
        f'chown {quote(placement.user + ":" + placement.group)} -- "$candidate"',
        f'chmod {placement.mode:04o} -- "$candidate"',
    ]
    check = build_check(placement)
    if check:
        told = "its output is kept back because the file is secret" if placement.quiet else '"$output"'
        told = quote(told) if placement.quiet else told
        lines += [
            f"output=$( ( {check}\n) 2>&1 ) || {{",
            f"  printf '%s\\n' {quote('the check refused ' + placement.dest + ':')} {told} >&2",
            "  exit 1",
            "}",
        ]
    lines.append(f'mv -fT -- "$candidate" {quote(placement.dest)}')
    return "\n".join(lines)
