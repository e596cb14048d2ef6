"""The files of a static site, read on the controller: their digest and one archive of them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from groundwork.problems import Problem, ProblemError

MAXIMUM_BYTES = 200 * 1024 * 1024
"""Sites larger than this do not belong into one archive in memory."""


@dataclass(frozen=True)
class StaticSite:
    """Files by their path below the document root; ``digest`` is that of all names and contents."""

    digest: str
    files: tuple[tuple[str, bytes], ...] = field(repr=False)


def read_static_site(folder: Path, path: str, key: str) -> StaticSite:
    """Read all files below ``folder``, to be served below the URL path ``path``.

    Hidden files stay out, except ``.well-known``. ``key`` names the route in messages. Raises ProblemError for
    links that lead out of the folder, names with line ends, and more than MAXIMUM_BYTES.
    """
    problems: list[Problem] = []
    files: list[tuple[str, bytes]] = []
    total = 0
    base = folder.resolve()
    prefix = path.strip("/")
    for file in sorted(base.rglob("*")):
        relative = file.relative_to(base)
        if any(part.startswith(".") and part != ".well-known" for part in relative.parts) or file.is_dir():
            continue
        name = f"{prefix}/{relative.as_posix()}" if prefix else relative.as_posix()
        if not file.resolve().is_relative_to(base) or not file.is_file():
            problems.append(Problem("leads out of the static folder", key=key, given=str(relative)))
        elif "\n" in name or "\\" in name or not name.isprintable():
            problems.append(Problem("file name with a line end or backslash", key=key, given=repr(str(relative))))
        else:
            total += file.stat().st_size
            if total > MAXIMUM_BYTES:
                problems.append(Problem("the static site is too large", key=key, allowed=f"{MAXIMUM_BYTES} bytes"))
                break
            files.append((name, file.read_bytes()))
    if problems:
        raise ProblemError(problems)
    files.sort(key=lambda item: item[0].encode())
    return StaticSite(compute_digest(files), tuple(files))


def compute_digest(files: list[tuple[str, bytes]]) -> str:
    """Return the SHA-256 over the list that ``sha256sum`` prints of the sorted files, as the host computes it."""
    lines = "".join(f"{hashlib.sha256(content).hexdigest()}  ./{name}\n" for name, content in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def build_archive(site: StaticSite) -> bytes:
    """Return the files as a compressed tar archive, the same for the same content.

    A file's time is made from its content: nginx derives the ETag from time and size, so that every host
    gives the same ETag, and another one for another content.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name, content in site.files:
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            entry.mode = 0o644
            # Some second of the years 2001 to 2017: never in the future.
            entry.mtime = 1_000_000_000 + int.from_bytes(hashlib.sha256(content).digest()[:4], "big") % 500_000_000
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
