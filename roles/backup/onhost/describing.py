"""The description of a set: made, signed, found again and judged. Its form is groundwork/backup/sets.py's."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from . import signing
from .restic import DESCRIPTION, Repository, Snapshot
from .settings import JobError, Settings

PIECE = 1 << 20
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class BackupSet:
    """One set as its repository has it."""

    name: str
    host: str
    data: str
    """Identifier of the snapshot with the data; empty where another program keeps them."""
    description: str
    """Identifier of the snapshot with the description."""
    size: int = 0
    objects: int = 0


def list_sets(snapshots: Iterable[Snapshot]) -> tuple[list[BackupSet], list[Snapshot]]:
    """The sets, oldest first, and data without a description: what a backup that was killed left."""
    parts: dict[str, dict[str, Snapshot]] = {}
    for one in snapshots:
        parts.setdefault(one.tag("set"), {})[one.tag("part")] = one
    sets, rest = [], []
    for name, found in sorted(parts.items()):
        data, description = found.get("data"), found.get("description")
        if name and description:
            size, objects = int(description.tag("bytes") or 0), int(description.tag("objects") or 0)
            known = data.identifier if data else ""
            sets.append(BackupSet(name, description.host, known, description.identifier, size, objects))
        else:
            rest += [one for one in (data, description) if one]
    return sets, rest


def show_path(path: str) -> str:
    """A path as text, whatever bytes it has."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file's content piece by piece."""
    while piece := file.read(PIECE):
        yield piece


def hash_stream(read: Iterator[bytes]) -> str:
    """SHA-256 of pieces."""
    digest = hashlib.sha256()
    for piece in read:
        digest.update(piece)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hash_stream(read_pieces(file))


def describe_objects(repository: Repository, snapshot: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Every file of a snapshot with its SHA-256, and how many files, folders and links there are.

    A file that is still as it was saved is read from the disk; what has changed since is read back from the
    repository, so that a hash is always that of what was saved.
    """
    objects: list[dict[str, Any]] = []
    counts = {"files": 0, "folders": 0, "links": 0, "bytes": 0}
    for node in repository.list_nodes(snapshot):
        kind, path = node["type"], node["path"]
        if kind != "file":
            counts["folders"] += kind == "dir"
            counts["links"] += kind == "symlink"
            continue
        size = int(node.get("size", 0))
        real = find_real(path) if UNKNOWN in path else Path(path)
        digest = _hash_unchanged(real, size, node["mtime"])
        if digest is None and UNKNOWN in path:
            raise JobError(f"{show_path(str(real))} has changed meanwhile, and restic cannot name it to read it back")
        if digest is None:
            with repository.reading(snapshot, path) as file:
                digest = hash_stream(read_pieces(file))
        objects.append({"path": show_path(str(real)), "size": size, "sha256": digest})
        counts["files"] += 1
        counts["bytes"] += size
    return objects, counts


def find_real(path: str) -> Path:
    """The file behind a path that restic shows, which has U+FFFD for every byte that is no UTF-8. Raises JobError."""
    real = Path("/")
    for part in Path(path).parts[1:]:
        names = [part]
        if UNKNOWN in part:
            here = [path.name for path in real.iterdir()]
            names = [name for name in here if os.fsencode(name).decode("utf-8", "replace") == part]
        if len(names) != 1:
            raise JobError(f"{path}: its name is not UTF-8 and not the only one like it: it cannot be described")
        real = real / names[0]
    return real


def _hash_unchanged(path: Path, size: int, shown: str) -> str | None:
    """The hash of a file on the disk, or None where it is no longer what a snapshot saved."""
    wanted = parse_time(shown)
    try:
        before = path.lstat()
        # restic shows microseconds and finer; a float would not hold them.
        if before.st_size != size or abs(before.st_mtime - wanted.timestamp()) > 1e-3:
            return None
        digest = hash_file(path)
        return digest if path.lstat().st_mtime_ns == before.st_mtime_ns else None
    except OSError:
        return None


def parse_time(text: str) -> datetime:
    """A time of restic's, which may have nine digits behind the second."""
    whole, dot, rest = text.partition(".")
    if not dot:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    digits = rest.rstrip("Z")
    zone = "+00:00"
    for sign in "+-":
        if sign in digits:
            digits, _, offset = digits.partition(sign)
            zone = sign + offset
    return datetime.fromisoformat(f"{whole}.{digits[:6]:0<6}{zone}")


def show_time(moment: datetime) -> str:
    """A moment as RFC 3339 has it, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def seal(settings: Settings, description: dict[str, Any]) -> str:
    """The envelope: the description's text, signed by this host."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True)
    certificate = Path(settings.certificate).read_text("ascii")
    envelope = {"manifest": text, "signature": signing.sign(text, settings.key), "certificate": certificate}
    return json.dumps(envelope)


def open_set(settings: Settings, repository: Repository, found: BackupSet) -> dict[str, Any]:
    """Read a set's description and judge its signature. Raises JobError where anything does not hold."""
    return judge_envelope(settings, repository.read(found.description, DESCRIPTION), found)


def judge_envelope(settings: Settings, content: bytes, found: BackupSet) -> dict[str, Any]:
    """What an envelope says, if it was signed by a host that may make sets of this item."""
    try:
        envelope = json.loads(content)
        text = envelope["manifest"]
        description: dict[str, Any] = json.loads(text)
        moment = datetime.fromisoformat(description["finished"].replace("Z", "+00:00"))
        host, item = description["host"], description["item"]
        identifier = description["payload"]["identifier"]
    except (ValueError, KeyError, TypeError) as error:
        raise JobError(f"set {found.name}: the description cannot be read: {error}") from None
    roots = [Path(settings.authority), *sorted((Path(settings.state) / "roots").glob("*.pem"))]
    try:
        signer = signing.judge(text, envelope["signature"], envelope["certificate"], roots, moment)
    except (JobError, ValueError, KeyError) as error:
        raise JobError(f"set {found.name}: the signature does not hold: {error}") from None
    if signer["uri"] != settings.uri or host.removeprefix("@ssh/").lower() not in signer["names"].split():
        given = f"{signer['uri']} ({signer['names']})"
        raise JobError(f"set {found.name}: was signed by {given}, not by {settings.uri} on {host}")
    if (description["set"], item, host) != (found.name, settings.item, found.host):
        raise JobError(f"set {found.name}: the description is that of {description['set']} of {item} on {host}")
    if description["payload"]["format"] == "restic" and identifier != found.data:
        raise JobError(f"set {found.name}: the data are not those that the description names")
    return description
