"""Unpack a release archive beside its place and move it there in one step.

    python3 unpack.py ARCHIVE SHA256 DEST [LINK]

Nothing but plain files and folders inside DEST is ever made: no links, no devices, no name that leads out of it. What
a run that was killed left behind is swept away by the next. LINK then points at DEST. Standard library alone.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

MOST_MEMBERS = 100_000
MOST_BYTES = 8 * 1024**3
KEEP = 2
"""Versions that stay: the one in use and the one before."""

Member = tuple[str, bool, bool, int, "BinaryIO | None"]
"""Name, whether it is a folder, whether it can be run, size, content."""


class ArchiveError(Exception):
    """The archive is not what it must be, or not safe to unpack."""


def check_digest(archive: Path, sha256: str) -> None:
    """Raise ArchiveError unless the file has this SHA-256."""
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise ArchiveError(f"{archive.name} has SHA-256 {digest.hexdigest()}, must have {sha256}")


def list_members(archive: Path) -> Iterator[Member]:
    """Yield every member. Raises ArchiveError for one that is neither file nor folder."""
    yield from _list_zip(archive) if archive.name.endswith(".zip") else _list_tar(archive)


def _list_tar(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive, "r:*") as opened:
        for one in opened:
            if not (one.isreg() or one.isdir()):
                raise ArchiveError(f"{one.name}: is a link or a device")
            yield one.name, one.isdir(), bool(one.mode & 0o111), one.size, opened.extractfile(one)  # type: ignore[misc]


def _list_zip(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for one in opened.infolist():
            mode = one.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveError(f"{one.filename}: is a link or a device")
            with opened.open(one) as content:
                yield one.filename, one.is_dir(), bool(mode & 0o111), one.file_size, content  # type: ignore[misc]


def safe_path(name: str) -> PurePosixPath:
    """The member's path below the destination. Raises ArchiveError for one that leads out of it."""
    path = PurePosixPath(name)
    if not name or "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts:
        raise ArchiveError(f"{name!r}: leads out of the archive's folder")
    return path


def unpack(archive: Path, folder: Path) -> None:
    """Unpack into a folder that is made for it. Raises ArchiveError; what it has unpacked by then stays."""
    try:
        _unpack(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise ArchiveError(f"{archive.name} cannot be unpacked: {error}") from None


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    seen: set[PurePosixPath] = set()
    total = 0
    for name, is_folder, runs, size, content in list_members(archive):
        path = safe_path(name)
        total += size
        if len(seen) >= MOST_MEMBERS or total > MOST_BYTES:
            raise ArchiveError(f"{archive.name}: unpacks to more than {MOST_MEMBERS} members or {MOST_BYTES} bytes")
        place = folder / path
        if is_folder:
            place.mkdir(parents=True, exist_ok=True)
            continue
        if path in seen or place.exists():
            raise ArchiveError(f"{name!r}: is there twice")
        seen.add(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            _copy(content, file, size, name)
        place.chmod(0o755 if runs else 0o644)
    if not seen:
        raise ArchiveError(f"{archive.name}: holds no file")
    for directory, _, _ in os.walk(folder):
        Path(directory).chmod(0o755)


def _copy(content: BinaryIO | None, file: BinaryIO, size: int, name: str) -> None:
    copied = 0
    while content is not None and (chunk := content.read(1024 * 1024)):
        copied += len(chunk)
        if copied > size:
            raise ArchiveError(f"{name!r}: is larger than the archive says")
        file.write(chunk)
    file.flush()
    os.fsync(file.fileno())


def install(archive: Path, sha256: str, dest: Path, link: Path | None) -> None:
    """Do everything that this program is for. Raises ArchiveError with ``dest`` and ``link`` as they were."""
    check_digest(archive, sha256)
    dest.parent.mkdir(parents=True, exist_ok=True)
    for left in dest.parent.glob(".partial-*"):
        shutil.rmtree(left)
    if not dest.is_dir():
        partial = dest.parent / f".partial-{dest.name}"
        try:
            unpack(archive, partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(dest)
    if link is not None:
        fresh = link.parent / f".partial-link-{link.name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(dest)
        before = link.resolve() if link.is_symlink() else None
        fresh.replace(link)
        _sweep(dest, before)


def _sweep(dest: Path, before: Path | None) -> None:
    kept = {dest, before if before != dest else None}
    others = [one for one in dest.parent.iterdir() if one.is_dir() and not one.is_symlink() and one not in kept]
    others.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    for one in others[max(0, KEEP - len(kept - {None})) :]:
        shutil.rmtree(one)


def main(arguments: list[str]) -> int:
    """Run the program; 0 when DEST and LINK are as told, 1 with one line of reason otherwise."""
    archive, sha256, dest = arguments[:3]
    link = Path(arguments[3]) if len(arguments) > 3 else None
    os.umask(0o022)
    try:
        install(Path(archive), sha256, Path(dest), link)
    except ArchiveError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
