"""What a repository's signed index says: digests of its lists, and the packages in them (Debian RepositoryFormat)."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cmp_to_key

from groundwork.artifacts.debian_version import compare_versions, is_release

_OPENERS: dict[str, Callable[[bytes], bytes]] = {
    ".xz": lzma.decompress,
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    "": bytes,
}
_SAFE_PATH = re.compile(r"(?!.*(?:^|/)\.\.(?:/|$))[A-Za-z0-9._~+:%@-]+(?:/[A-Za-z0-9._~+:%@-]+)*")


class IndexContentError(Exception):
    """The index does not say what is needed; the text says what is missing."""


@dataclass(frozen=True)
class FileEntry:
    """A file by its path from the repository's root, and what it must be."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class PackageEntry:
    """One version of a package."""

    package: str
    version: str
    file: FileEntry


def read_fields(text: str) -> dict[str, str]:
    """The fields of one stanza; continued lines are joined by line ends."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t"):
            fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def list_files(release: str) -> dict[str, FileEntry]:
    """The files that a Release names under SHA256, by their path beside it; older digests do not count."""
    found: dict[str, FileEntry] = {}
    for line in read_fields(release).get("SHA256", "").splitlines():
        words = line.split()
        if len(words) == 3 and words[1].isdecimal() and _SAFE_PATH.fullmatch(words[2].removeprefix("./")):
            path = words[2].removeprefix("./")
            found[path] = FileEntry(path, words[0].lower(), int(words[1]))
    return found


def choose_lists(files: dict[str, FileEntry], components: list[str], architecture: str, flat: bool) -> list[FileEntry]:
    """The lists of packages to read, in the best compression offered.

    Raises:
        IndexContentError: a component has none for this architecture.
    """
    stems = ["Packages"] if flat else [f"{one}/binary-{architecture}/Packages" for one in components]
    chosen = []
    for stem in stems:
        found = next((files[stem + suffix] for suffix in _OPENERS if stem + suffix in files), None)
        if found is None:
            raise IndexContentError(f"its index has no {stem}")
        chosen.append(found)
    return chosen


def open_list(path: str, content: bytes) -> str:
    """The text of a list of packages. Raises IndexContentError where it cannot be unpacked."""
    suffix = next(suffix for suffix in _OPENERS if path.endswith(suffix))
    try:
        return _OPENERS[suffix](content).decode("utf-8")
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise IndexContentError(f"{path} cannot be read: {error}") from None


def list_packages(text: str, package: str, architecture: str) -> Iterator[PackageEntry]:
    """Yield every version of a package that fits the architecture."""
    for stanza in re.split(r"\n\s*\n", text):
        if not re.search(rf"^Package: {re.escape(package)}\s*$", stanza, re.MULTILINE):
            continue
        fields = read_fields(stanza)
        path = fields.get("Filename", "").removeprefix("./")
        if fields.get("Architecture") not in (architecture, "all") or not _SAFE_PATH.fullmatch(path):
            continue
        digest, size = fields.get("SHA256", ""), fields.get("Size", "")
        if len(digest) == 64 and size.isdecimal():
            yield PackageEntry(package, fields.get("Version", ""), FileEntry(path, digest.lower(), int(size)))


def choose_package(entries: list[PackageEntry], package: str, version: str) -> PackageEntry:
    """The newest of a package's versions, or the newest of the wanted release.

    Raises:
        IndexContentError: there is none.
    """
    by_version = cmp_to_key(compare_versions)
    order = sorted(entries, key=lambda one: by_version(one.version))
    fitting = [one for one in order if not version or is_release(one.version, version)]
    if not fitting:
        has = ", ".join(one.version for one in reversed(order[-5:])) or "none"
        raise IndexContentError(f"has no {package} {version}".rstrip() + f"; newest it has: {has}")
    return fitting[-1]
