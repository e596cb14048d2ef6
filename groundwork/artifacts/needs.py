"""What the hosts of an environment need from vendors: fetched, and checked, item by item."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from groundwork.artifacts.download import DownloadError, digest_of, fetch_file
from groundwork.artifacts.index import read_fields
from groundwork.artifacts.signature import SignatureError, check_key, read_signed
from groundwork.artifacts.store import (
    LARGEST_INDEX,
    LARGEST_KEY,
    ArtifactStore,
    StoreFailure,
    architecture_of,
    describe_failure,
    pinned_digest,
    release_of,
    repositories_of,
)
from groundwork.problems import ProblemError
from groundwork.site import Site
from groundwork.topology.vendor_parts import list_vendor_packages

NEW = ".new"
"""What the names of index files end in until all that they speak of is here."""


@dataclass(frozen=True, order=True)
class PackageNeed:
    """A package for hosts of one release and architecture."""

    repository: str
    package: str
    version: str
    release: str
    architecture: str

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        return f"{self.package}{version} of {self.repository} for {self.release}/{self.architecture}"


@dataclass(frozen=True)
class ItemResult:
    """How one item is: ``fetched``, ``there``, or why not."""

    item: str
    state: str
    finding: str = ""


def list_needs(site: Site, store: ArtifactStore) -> list[PackageNeed]:
    """Every package that a host takes from a vendor. Raises ProblemError for one without a source."""
    found: dict[PackageNeed, None] = {}
    for host in site.inventory.hosts:
        for one in list_vendor_packages(site.platform, site.topology, host.name):
            (repository,) = repositories_of(store.lock, [one.package])
            where = release_of(host.data), architecture_of(host.data)
            found[PackageNeed(repository, one.package, one.version, *where)] = None
    return sorted(found)


def list_archives(site: Site, store: ArtifactStore) -> list[tuple[str, str]]:
    """Every release archive in artifacts.lock, with the architectures that hosts have and it is pinned for."""
    wanted = sorted({architecture_of(host.data) for host in site.inventory.hosts})
    return [(name, one) for name, archive in store.lock.archives.items() for one in wanted if one in archive.sha256]


def fetch_all(site: Site, store: ArtifactStore) -> Iterator[ItemResult]:
    """Fetch what is missing, checking each file before it gets its name; go on with the others after a failure."""
    for need in list_needs(site, store):
        yield _attempt(str(need), lambda need=need: _fetch_package(store, need))  # type: ignore[misc]
    for name, architecture in list_archives(site, store):
        item = f"archive {name} {store.lock.archives[name].version} for {architecture}"
        yield _attempt(item, lambda name=name, arch=architecture: _fetch_archive(store, name, arch))  # type: ignore[misc]


def verify_all(site: Site, store: ArtifactStore) -> Iterator[ItemResult]:
    """Check everything that is needed, without any network."""
    for need in list_needs(site, store):
        yield _attempt(str(need), lambda need=need: _verify_package(store, need))  # type: ignore[misc]
    for name, architecture in list_archives(site, store):
        item = f"archive {name} {store.lock.archives[name].version} for {architecture}"
        yield _attempt(item, lambda name=name, arch=architecture: _verify_archive(store, name, arch))  # type: ignore[misc]


def _attempt(item: str, work: Callable[[], bool]) -> ItemResult:
    try:
        return ItemResult(item, "fetched" if work() else "there")
    except (*StoreFailure, DownloadError, ProblemError) as error:
        return ItemResult(item, "wrong", describe_failure(error))


def _fetch_package(store: ArtifactStore, need: PackageNeed) -> bool:
    """The key, the signed index and, where hosts are served from here, the package.

    A new index gets its name last, when all that it speaks of is here: until then the former one holds.
    """
    changed = _fetch_key(store, need.repository)
    declared = store.lock.repositories[need.repository]
    key, root, place = store.read_key(need.repository), store.root_url(need.repository), store.place(need.repository)
    index = place / f"{declared.index_path(need.release)}InRelease"
    fetch_file(
        f"{root}/{declared.index_path(need.release)}InRelease",
        index.with_name(index.name + NEW),
        largest=LARGEST_INDEX,
        check=lambda content: _check_age(read_signed(content, key, declared.fingerprints), index),
    )
    fresh = [index]
    if store.offline:
        where = need.repository, need.release, need.architecture
        for one in store.lists(*where, suffix=NEW):
            list_place = place / one.path
            is_here = list_place.is_file() and digest_of(list_place) == one.sha256
            if is_here:
                shutil.copyfile(list_place, f"{list_place}{NEW}")
            fetch_file(f"{root}/{one.path}", Path(f"{list_place}{NEW}"), sha256=one.sha256, size=one.size)
            fresh.append(list_place)
        file = store.find_package(*where, need.package, need.version, suffix=NEW).file
        changed |= fetch_file(f"{root}/{file.path}", place / file.path, sha256=file.sha256, size=file.size)
    for path in reversed(fresh):
        renewed = Path(f"{path}{NEW}")
        changed |= not path.is_file() or path.read_bytes() != renewed.read_bytes()
        renewed.replace(path)
    return changed


def _fetch_key(store: ArtifactStore, repository: str) -> bool:
    """Fetch the key, each time: a vendor that prolongs its key's life changes the file, not the fingerprint."""
    path, pinned = store.key_path(repository), store.lock.repositories[repository].fingerprints
    before = path.read_bytes() if path.is_file() else b""
    fetch_file(
        store.key_url(repository),
        path,
        largest=LARGEST_KEY,
        check=lambda content: _ignore(check_key(content, pinned)),
    )
    return path.read_bytes() != before


def _check_age(text: str, former: Path) -> None:
    """Refuse an index that is out of date, or older than the one that is here: somebody may be replaying it."""
    fields = read_fields(text)
    end = _moment(fields.get("Valid-Until", ""))
    if end and end < datetime.now(UTC):
        raise SignatureError(f"its index was valid until {fields['Valid-Until']}")
    if former.is_file():
        # Signed before, or it would not be here; only its date is of interest.
        before = _moment(read_fields(former.read_text(encoding="utf-8", errors="replace")).get("Date", ""))
        now = _moment(fields.get("Date", ""))
        if before and now and now < before:
            raise SignatureError(f"its index is of {fields['Date']}, older than the one that is here")


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _ignore(_: object) -> None:
    """A check raises or does not; what it returns is of no interest."""


def _fetch_archive(store: ArtifactStore, name: str, architecture: str) -> bool:
    digest = pinned_digest(store.lock, name, architecture)
    return fetch_file(store.archive_url(name, architecture), store.archive_path(name, architecture), sha256=digest)


def _verify_package(store: ArtifactStore, need: PackageNeed) -> bool:
    store.read_release(need.repository, need.release)
    if store.offline:
        where = need.repository, need.release, need.architecture
        store.open_package(*where, need.package, need.version)
    return False


def _verify_archive(store: ArtifactStore, name: str, architecture: str) -> bool:
    store.open_archive(name, architecture)
    return False
