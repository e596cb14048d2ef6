"""A real Consul for tests: 1.8.7, the last that Debian shipped (Debian 11), checked as any vendor's package is."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from groundwork.artifacts.download import DownloadError, fetch_file
from groundwork.artifacts.lock import ArtifactLock, Repository
from groundwork.artifacts.openpgp import list_fingerprints
from groundwork.artifacts.signature import SignatureError
from groundwork.artifacts.store import ArtifactStore
from groundwork.lab.aptsources import choose_mirrors, read_sources

VERSION = "1.8.7"
RELEASE = "bullseye"
KEYRINGS = Path("/usr/share/keyrings")
NAME = "debian"


class NoConsulError(Exception):
    """It cannot be had here; the text says why."""


def fetch_consul(folder: Path) -> Path:
    """Return the Debian package, fetched from the mirror that this machine's apt uses.

    Raises:
        NoConsulError: no mirror, no key of Debian 11, or a mirror without it.
    """
    mirror = choose_mirrors(read_sources(Path("/etc/apt"))).main
    key = KEYRINGS / f"debian-archive-{RELEASE}-stable.gpg"
    if not mirror or not key.is_file():
        raise NoConsulError(f"no mirror in /etc/apt, or no {key}")
    repository = Repository(
        uri=mirror,
        suite=RELEASE,
        key=mirror,
        fingerprints=list_fingerprints(key.read_bytes()),
        packages=["consul"],
    )
    store = ArtifactStore(folder, ArtifactLock(repositories={NAME: repository}), offline=True)
    store.place(NAME).mkdir(parents=True, exist_ok=True)
    store.key_path(NAME).write_bytes(key.read_bytes())
    place = store.place(NAME)
    try:
        fetch_file(f"{mirror}/dists/{RELEASE}/InRelease", place / f"dists/{RELEASE}/InRelease")
        for one in store.lists(NAME, RELEASE, "amd64"):
            fetch_file(f"{mirror}/{one.path}", place / one.path, sha256=one.sha256, size=one.size)
        entry = store.find_package(NAME, RELEASE, "amd64", "consul", VERSION)
        path = place / entry.file.path
        fetch_file(f"{mirror}/{entry.file.path}", path, sha256=entry.file.sha256, size=entry.file.size)
    except (DownloadError, SignatureError) as error:
        raise NoConsulError(str(error)) from None
    return path


def drop_dependency(package: Path, folder: Path, name: str = "pipexec") -> Path:
    """Return the same package in ``folder`` without one of the packages it depends on.

    Debian 13 has no pipexec. Only the start script for hosts without systemd calls it, and the vendor's own package
    depends on no such thing.
    """
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
        control = tree / "DEBIAN/control"
        lines = control.read_text().splitlines(keepends=True)
        at = next(number for number, line in enumerate(lines) if line.startswith("Depends:"))
        depends = [one.strip() for one in lines[at].removeprefix("Depends:").split(",")]
        depends.remove(name)
        lines[at] = f"Depends: {', '.join(depends)}\n"
        control.write_text("".join(lines))
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / package.name
        build = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(target)]
        subprocess.run(build, check=True, capture_output=True)
    return target
