"""The record of what was issued and revoked. A certificate is written down before it leaves the controller."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from groundwork.problems import Problem, ProblemError
from groundwork.secrets.keys import write_atomically
from groundwork.topology.model import Identity

ISSUED = "issued.jsonl"
REVOKED = "revoked.json"


@dataclass(frozen=True)
class Issued:
    """One certificate; times in ISO 8601 with time zone, the serial number in hexadecimal."""

    serial: str
    unit: str
    host: str
    account: str
    generation: str
    issued: str
    expires: str


@dataclass(frozen=True)
class Revoked:
    """One revoked certificate; it is forgotten when it would have expired."""

    serial: str
    generation: str
    time: str
    expires: str


def describe_leaf(certificate: x509.Certificate, identity: Identity, generation: str, now: datetime) -> Issued:
    """The record of a certificate that was just signed."""
    return Issued(
        serial=format_serial(certificate.serial_number),
        unit=identity.unit,
        host=identity.host,
        account=identity.account,
        generation=generation,
        issued=now.astimezone(UTC).isoformat(timespec="seconds"),
        expires=certificate.not_valid_after_utc.isoformat(timespec="seconds"),
    )


def format_serial(number: int) -> str:
    """A serial number as OpenSSL prints it: hexadecimal, whole bytes, upper case."""
    digits = f"{number:X}"
    return digits.zfill(len(digits) + len(digits) % 2)


def append_issued(folder: Path, records: Iterable[Issued]) -> None:
    """Write records down, all with one write, on disk before this returns.

    What a run that was killed or had no space left behind of a line is cut off first: its certificates never
    left the controller. Raises ProblemError when nothing can be written.
    """
    path = folder / ISSUED
    text = "".join(json.dumps(asdict(record)) + "\n" for record in records).encode()
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            whole = _whole_length(path)
            os.ftruncate(handle, whole)
            if os.pwrite(handle, text, whole) != len(text):
                raise OSError(0, "no space left")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        told = f"the record of certificates cannot be written: {error.strerror}"
        raise ProblemError([Problem(told, file=str(path))]) from None


def read_issued(folder: Path) -> list[Issued]:
    """All records, oldest first. Raises ProblemError for a line that is none (an unfinished last one is none yet)."""
    path = folder / ISSUED
    if not path.exists():
        return []
    content = path.read_bytes()[: _whole_length(path)]
    records: list[Issued] = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            records.append(Issued(**json.loads(line)))
        except (ValueError, TypeError):
            allowed = "the file as it was, or without this line"
            raise ProblemError([Problem("is no record of a certificate", str(path), number, allowed=allowed)]) from None
    return records


def read_revoked(folder: Path) -> list[Revoked]:
    """All revoked certificates. Raises ProblemError when the file is damaged: a revocation must not be forgotten."""
    path = folder / REVOKED
    try:
        return [Revoked(**entry) for entry in json.loads(path.read_text("utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError):
        raise ProblemError([Problem("the list of revoked certificates is damaged", file=str(path))]) from None


def write_revoked(folder: Path, revoked: Iterable[Revoked], now: datetime) -> None:
    """Replace the list, without what has expired."""
    kept = [asdict(one) for one in revoked if datetime.fromisoformat(one.expires) > now]
    write_atomically(folder / REVOKED, (json.dumps(kept, indent=1) + "\n").encode(), 0o644)


def _whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    return path.read_bytes().rfind(b"\n") + 1
