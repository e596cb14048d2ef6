"""What a container reads: copies that its user owns, in memory, mounted read-only.

The originals belong to root or to a user of the host, who is another one in the container where the engine maps
user ids. Copies are replaced in one step, so that a certificate's renewal is seen from inside.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path("/run/groundwork/containers")
"""Where each unit has a folder; /run is in memory."""


@dataclass(frozen=True)
class Owner:
    """Who a container's process is, as the host counts."""

    uid: int
    gid: int


class ContainerFiles:
    """The folder of one unit."""

    def __init__(self, unit: str, folder: Path = FOLDER) -> None:
        self.path = folder / unit

    def prepare(self, declared: dict[str, Any], owner: Owner, probe: Path) -> None:
        """Lay everything down anew."""
        self.remove()
        self.path.mkdir(parents=True, mode=0o755)
        for name in ("secrets", "etc", "run"):
            self._make_folder(self.path / name, owner)
        for name, source in declared["secrets"].items():
            self._copy(Path(source), self.path / "secrets" / name, owner)
        for name, source in declared["files"].items():
            self._copy(Path(source), self.path / "etc" / name, owner)
        self._copy(probe, self.path / "run" / "probe.py", owner)
        self.refresh(declared, owner)

    def refresh(self, declared: dict[str, Any], owner: Owner) -> bool:
        """Bring certificates and trust up to date; tells whether anything was copied."""
        changed = False
        for name, source in declared["trust"].items():
            changed |= self._renew(Path(source), self.path / "etc" / name, owner)
        for name, source in declared["certificates"].items():
            changed |= self._renew_pair(Path(source), self.path / "etc" / name, owner)
        return changed

    def remove(self) -> None:
        """Remove the folder and all copies in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _make_folder(self, path: Path, owner: Owner) -> None:
        if not path.is_dir():
            self._make_folder(path.parent, owner) if path.parent != self.path else None
            path.mkdir(mode=0o500)
            os.chown(path, owner.uid, owner.gid)

    def _copy(self, source: Path, target: Path, owner: Owner) -> None:
        self._make_folder(target.parent, owner)
        new = target.with_name(f".{target.name}.new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(source.read_bytes())
        os.chown(new, owner.uid, owner.gid)
        shutil.copystat(source, new)
        new.chmod(0o400)
        new.replace(target)

    def _renew(self, source: Path, target: Path, owner: Owner) -> bool:
        try:
            if target.exists() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
                return False
            self._copy(source, target, owner)
        except FileNotFoundError:
            return False
        return True

    def _renew_pair(self, link: Path, target: Path, owner: Owner) -> bool:
        """Copy the folder that ``link`` leads to, and point ``target`` at it: key and certificate change at once."""
        try:
            source = link.resolve(strict=True)
        except FileNotFoundError:
            return False
        if target.is_symlink() and target.readlink().name == source.name:
            return False
        for path in source.iterdir():
            self._copy(path, target.parent / source.name / path.name, owner)
        new = target.with_name(f".{target.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(source.name)
        new.replace(target)
        for old in target.parent.iterdir():
            if not old.is_symlink() and old.name != source.name:
                shutil.rmtree(old, ignore_errors=True)
        return True


def own_folder(path: Path, owner: Owner, mode: int = 0o700) -> None:
    """Make a data folder that the container may write to; what another user left in it is handed over."""
    path.mkdir(parents=True, exist_ok=True)
    status = path.stat()
    if (status.st_uid, status.st_gid) != (owner.uid, owner.gid):
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(Path(folder) / name, owner.uid, owner.gid, follow_symlinks=False)
        os.chown(path, owner.uid, owner.gid)
    path.chmod(mode)


def own_log_file(path: Path, owner: Owner) -> None:
    """Make a log file that the container may write to, in a folder of root's: logrotate works there as root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.chown(path.parent, 0, 0)
    path.parent.chmod(0o755)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o640))
    os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    path.chmod(0o640)
