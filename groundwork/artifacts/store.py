"""The controller's folder of vendor parts: fetched once, checked at each use, copied as it is to serve as a mirror.

<folder>/<repository>/key.asc                       the vendor's key
<folder>/<repository>/dists/..., pool/...           its signed index, and the packages that are needed
<folder>/archives/<name>/<version>/<file>           release archives
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundwork.artifacts.download import digest_of
from groundwork.artifacts.index import (
    FileEntry,
    IndexContentError,
    PackageEntry,
    choose_lists,
    choose_package,
    list_files,
    list_packages,
    open_list,
    read_fields,
)
from groundwork.artifacts.lock import Archive, ArtifactLock, Repository, load_lock
from groundwork.artifacts.signature import SignatureError, check_key, read_signed
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site

LARGEST_INDEX = 16 * 1024**2
LARGEST_KEY = 1024**2


@dataclass(frozen=True)
class ArtifactStore:
    """The folder, and whether hosts are served from it or from a mirror of it."""

    folder: Path
    lock: ArtifactLock
    offline: bool = False
    """Whether hosts get vendor packages from here and reach neither vendor nor mirror."""
    mirror: str = ""
    """URL of a copy of such a folder, in place of the vendors' own hosts; no slash at its end."""

    def place(self, repository: str) -> Path:
        """Where a repository's files lie."""
        return self.folder / repository

    def key_path(self, repository: str) -> Path:
        """Where a repository's key lies."""
        return self.place(repository) / "key.asc"

    def archive_path(self, name: str, architecture: str) -> Path:
        """Where a release archive lies."""
        archive = self.lock.archives[name]
        return self.folder / "archives" / name / archive.version / archive.file_for(architecture)

    def key_url(self, repository: str) -> str:
        """Where a repository's key is fetched."""
        return f"{self.mirror}/{repository}/key.asc" if self.mirror else self.lock.repositories[repository].key

    def root_url(self, repository: str) -> str:
        """Root of a repository, as controller and hosts reach it."""
        declared = self.lock.repositories[repository].uri.rstrip("/")
        return f"{self.mirror}/{repository}" if self.mirror else declared

    def archive_url(self, name: str, architecture: str) -> str:
        """Where a release archive is fetched."""
        path = self.archive_path(name, architecture).relative_to(self.folder).as_posix()
        return f"{self.mirror}/{path}" if self.mirror else self.lock.archives[name].url_for(architecture)

    def read_key(self, repository: str) -> bytes:
        """The repository's key, all of whose fingerprints are pinned. Raises SignatureError or OSError."""
        content = self.key_path(repository).read_bytes()
        check_key(content, self.lock.repositories[repository].fingerprints)
        return content

    def read_release(self, repository: str, release: str, suffix: str = "") -> str:
        """The signed text of a repository's index; ``suffix`` for a new one. Raises SignatureError or OSError."""
        declared = self.lock.repositories[repository]
        path = self.place(repository) / f"{declared.index_path(release)}InRelease{suffix}"
        return read_signed(path.read_bytes(), self.read_key(repository), declared.fingerprints)

    def lists(self, repository: str, release: str, architecture: str, suffix: str = "") -> list[FileEntry]:
        """The lists of packages that the signed index names, by their path from the root."""
        declared = self.lock.repositories[repository]
        base = declared.index_path(release)
        files = list_files(self.read_release(repository, release, suffix))
        chosen = choose_lists(files, declared.components, architecture, declared.is_flat)
        return [FileEntry(base + one.path, one.sha256, one.size) for one in chosen]

    def find_package(
        self, repository: str, release: str, architecture: str, package: str, version: str = "", suffix: str = ""
    ) -> PackageEntry:
        """The entry of a package to install; every file on the way is checked against what signed it."""
        entries: list[PackageEntry] = []
        for one in self.lists(repository, release, architecture, suffix):
            content = (self.place(repository) / (one.path + suffix)).read_bytes()
            if hashlib.sha256(content).hexdigest() != one.sha256:
                raise SignatureError(f"{one.path} is not what the signed index says")
            entries += list_packages(open_list(one.path, content), package, architecture)
        return choose_package(entries, package, version)

    def open_package(
        self, repository: str, release: str, architecture: str, package: str, version: str = ""
    ) -> tuple[PackageEntry, Path]:
        """A package's entry and its file here, which is what the signed index says."""
        entry = self.find_package(repository, release, architecture, package, version)
        path = self.place(repository) / entry.file.path
        if digest_of(path) != entry.file.sha256:
            raise SignatureError(f"{entry.file.path} is not what the signed index says")
        return entry, path

    def open_archive(self, name: str, architecture: str) -> tuple[Path, str]:
        """A release archive's file here and its SHA-256, which it has.

        Raises ProblemError where it is not declared, SignatureError or OSError where it is not as it must be.
        """
        sha256 = pinned_digest(self.lock, name, architecture)
        path = self.archive_path(name, architecture)
        if digest_of(path) != sha256:
            raise SignatureError(f"{path.name} has not the SHA-256 in artifacts.lock")
        return path, sha256

    def origin_pin(self, repository: str, release: str) -> str:
        """How apt's preferences name the repository (apt_preferences(5)).

        A vendor's own host offers nothing else; a mirror may, so there its signed names tell it from the others.
        Raises SignatureError where it has no name, OSError where its index is not here.
        """
        if not self.mirror:
            return f'origin "{host_of(self.root_url(repository))}"'
        fields = read_fields(self.read_release(repository, release))
        names = {"o": "Origin", "l": "Label", "a": "Suite", "n": "Codename"}
        terms = [f"{short}={fields[name]}" for short, name in names.items() if fields.get(name)]
        if not (fields.get("Origin") or fields.get("Label")) or any("," in term or "*" in term for term in terms):
            raise SignatureError("its index has no Origin and no Label by which apt could tell it from other sources")
        return "release " + ",".join(terms)


def pinned_digest(lock: ArtifactLock, name: str, architecture: str) -> str:
    """The SHA-256 of an archive. Raises ProblemError where artifacts.lock has none."""
    archive: Archive | None = lock.archives.get(name)
    if archive is None:
        message, allowed = "is not in artifacts.lock", ", ".join(lock.archives) or "no archive is declared"
        raise ProblemError([Problem(message, "artifacts.lock", key=f"archives.{name}", allowed=allowed)])
    digest = archive.sha256.get(architecture)  # type: ignore[call-overload]
    if digest is None:
        key = f"archives.{name}.sha256.{architecture}"
        raise ProblemError([Problem("is not pinned", "artifacts.lock", key=key, allowed="the file's SHA-256")])
    return str(digest)


def host_of(url: str) -> str:
    """The host in a URL, without its port: what apt calls a source's site."""
    return url.partition("://")[2].partition("/")[0].partition(":")[0]


def open_store(site: Site) -> ArtifactStore:
    """The environment's store, as the hosts' data ``artifacts_folder`` and ``artifacts_mirror`` declare it.

    Raises ProblemError for a mistake in artifacts.lock or in the two.
    """
    data: Mapping[str, Any] = site.inventory.hosts[0].data
    declared, mirror = data.get("artifacts_folder"), str(data.get("artifacts_mirror") or "").rstrip("/")
    if mirror and not mirror.startswith(("http://", "https://")):
        key = "artifacts_mirror"
        raise ProblemError([Problem("is no URL", site.inventory.file, key=key, given=mirror, allowed="https://...")])
    folder = Path(str(declared)).expanduser() if declared else Path(".cache/artifacts") / site.environment
    return ArtifactStore(site.root / folder, load_lock(site.root), bool(declared), mirror)


def release_of(data: Mapping[str, Any]) -> str:
    """A host's Debian release, from its data."""
    return str(data.get("release") or "trixie")


def architecture_of(data: Mapping[str, Any]) -> str:
    """A host's architecture as Debian names it, from its data."""
    return str(data.get("architecture") or "amd64")


def describe_failure(error: Exception) -> str:
    """One line of what is wrong with a file of the store."""
    if isinstance(error, OSError):
        return "is not here" if isinstance(error, FileNotFoundError) else str(error)
    return str(error)


StoreFailure = (SignatureError, IndexContentError, OSError)
"""What reading from a store may raise: not there, not trusted, or without what is needed."""


def repositories_of(lock: ArtifactLock, packages: Iterable[str]) -> dict[str, Repository]:
    """The repositories that packages come from, by name. Raises ProblemError for a package without one."""
    found: dict[str, Repository] = {}
    problems = []
    for package in packages:
        source = lock.repository_of(package)
        if source is None:
            message = "no repository in artifacts.lock has this package"
            problems.append(Problem(message, "artifacts.lock", key="repositories", given=package))
        else:
            found[source[0]] = source[1]
    if problems:
        raise ProblemError(problems)
    return found
