"""Tar archives made in memory: how files get into a container before it starts."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class FileEntry:
    """One file for a container: absolute path, text, permission bits and numeric owner."""

    path: str
    text: str
    mode: int = 0o644
    owner: int = 0


def pack_files(entries: Iterable[FileEntry]) -> bytes:
    """Return a tar archive to be unpacked at ``/``; parent folders must exist there or be made by unpacking."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            data = entry.text.encode()
            info = tarfile.TarInfo(entry.path.lstrip("/"))
            info.size, info.mode = len(data), entry.mode
            info.uid = info.gid = entry.owner
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
