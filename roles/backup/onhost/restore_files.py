"""Files and configuration: what is missing or differs is put back, file by file; what came later stays."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .describing import hash_file
from .settings import JobError, Settings


def describe_loss(settings: Settings, description: dict[str, Any]) -> str:
    """What a restore would overwrite."""
    return f"changes since {description['started']} to files below {', '.join(settings.paths)}; newer files stay"


def place(settings: Settings, description: dict[str, Any], tree: Path) -> dict[str, Any]:
    """Put back folders, files and links that are not as they were. Each file is replaced in one step."""
    folders = files = links = 0
    for path in _walk(tree):
        target = Path("/") / path.relative_to(tree)
        if path.is_symlink():
            links += _put_link(path, target)
        elif path.is_dir():
            folders += _put_folder(path, target, _is_below(target, settings.paths))
        else:
            files += _put_file(path, target)
    return {"folders": folders, "files": files, "links": links}


def _walk(tree: Path) -> Iterator[Path]:
    """Everything below a folder, folders before what is in them."""
    for folder, names, files in os.walk(tree):
        for name in sorted([*names, *files]):
            yield Path(folder) / name


def _same_rights(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) == (
        other.st_uid,
        other.st_gid,
        stat.S_IMODE(other.st_mode),
    )


def _is_below(target: Path, paths: tuple[str, ...]) -> bool:
    """Whether a path belongs to the item; folders above it are others'."""
    return any(target.is_relative_to(path) for path in paths)


def _put_folder(source: Path, target: Path, ours: bool) -> int:
    kept = source.stat()
    if target.is_dir() and (not ours or _same_rights(target.stat(), kept)):
        return 0
    target.mkdir(exist_ok=True)
    os.chown(target, kept.st_uid, kept.st_gid)
    target.chmod(stat.S_IMODE(kept.st_mode))
    return 1


def _put_link(source: Path, target: Path) -> int:
    wanted = source.readlink()
    if target.is_symlink() and target.readlink() == wanted:
        return 0
    fresh = _fresh(target)
    fresh.symlink_to(wanted)
    kept = source.lstat()
    os.chown(fresh, kept.st_uid, kept.st_gid, follow_symlinks=False)
    fresh.replace(target)
    return 1


def _put_file(source: Path, target: Path) -> int:
    kept = source.stat()
    if target.is_file() and not target.is_symlink():
        now = target.stat()
        if now.st_size == kept.st_size and _same_rights(now, kept) and hash_file(target) == hash_file(source):
            return 0
    fresh = _fresh(target)
    shutil.copyfile(source, fresh)
    os.chown(fresh, kept.st_uid, kept.st_gid)
    fresh.chmod(stat.S_IMODE(kept.st_mode))
    os.utime(fresh, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    fresh.replace(target)
    return 1


def _fresh(target: Path) -> Path:
    """A name beside the target that nothing has."""
    fresh = target.with_name(f".{target.name}.groundwork-restore")
    fresh.unlink(missing_ok=True)
    return fresh


def compare(settings: Settings, description: dict[str, Any], tree: Path) -> dict[str, Any]:
    """Every file of the set lies in its place again. Raises JobError with those that do not."""
    wrong = []
    for path in _walk(tree):
        target = Path("/") / path.relative_to(tree)
        if path.is_file() and not path.is_symlink() and (not target.is_file() or hash_file(target) != hash_file(path)):
            wrong.append(str(target))
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise JobError(f"not as they were saved: {', '.join(wrong[:5])}{more}")
    return {"compared": len(description["objects"])}
