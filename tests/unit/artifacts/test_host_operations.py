"""What is done on a host for a vendor's package or archive, and what is refused before anything is done."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import OperationError

from groundwork.artifacts.lock import ArtifactLock
from groundwork.artifacts.store import ArtifactStore
from groundwork.facts.unpacked_archives import UnpackedArchives
from groundwork.facts.vendor_packages import PackageOrigin, PackageOrigins
from groundwork.operations import release_archives, vendor_packages
from tests.unit.operations.fake_host import FakeHost, install, list_commands

# The store does not come from it here.
ANY_SITE: Any = None
VENDOR = "http://mirror.example.org/hashicorp"


@pytest.fixture
def store(tmp_path: Path, vendor: Any, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """A filled store of the vendor; hosts reach the vendor under another name."""
    repository = vendor.publish()
    folder = tmp_path / "store"
    folder.mkdir()
    repository.root.rename(folder / "hashicorp")
    (vendor.root / "key.asc").rename(folder / "hashicorp/key.asc")
    archive = folder / "archives/jaeger/2.17.0/jaeger-amd64.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as opened:
        info = tarfile.TarInfo("jaeger")
        info.size = 1
        opened.addfile(info, io.BytesIO(b"x"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    source = {"uri": VENDOR, "suite": "stable", "key": f"{VENDOR}/key", "packages": ["consul"]}
    lock: dict[str, Any] = {
        "repositories": {"hashicorp": {**source, "fingerprints": [vendor.fingerprint]}},
        "archives": {"jaeger": {"version": "2.17.0", "url": f"{VENDOR}/jaeger-{{architecture}}.tar.gz"}},
    }
    lock["archives"]["jaeger"]["sha256"] = {"amd64": digest}
    found = ArtifactStore(folder, ArtifactLock.model_validate(lock))
    for module in (vendor_packages, release_archives):
        monkeypatch.setattr(module, "open_store", lambda _: found)
    return found


def prepare(monkeypatch: pytest.MonkeyPatch, facts: dict[type, Any], **data: str) -> FakeHost:
    host = install(monkeypatch, [vendor_packages, release_archives], facts)
    values = {"release": "trixie", **data}
    host.data = SimpleNamespace(dict=lambda: values)  # type: ignore[attr-defined]
    return host


def package(store: ArtifactStore, version: str = "") -> list[str]:
    arguments: dict[str, Any] = {
        "site": None,
        "package": "consul",
        "version": version,
        "hold_services": ["consul.service"],
    }
    return list_commands(vendor_packages.vendor_package._inner(**arguments))


@pytest.mark.parametrize(
    ("origin", "version", "due"),
    [
        (None, "", True),
        (PackageOrigin("1.20.1-1", (VENDOR,)), "", False),
        (PackageOrigin("1.20.1-1", (VENDOR,)), "1.20.1", False),
        (PackageOrigin("1.20.1-1", (VENDOR,)), "1.20.10", True),
        # The vendor has withdrawn it; nobody else offers it.
        (PackageOrigin("1.19.0-1"), "", False),
        (PackageOrigin("2.4.7-1", ("http://deb.example.org/debian",)), "", True),
        (PackageOrigin("2.4.7-1", ("http://deb.example.org/debian", f"{VENDOR}/")), "", False),
    ],
)
def test_a_package_is_installed_from_the_vendor_where_it_is_due(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, origin: PackageOrigin | None, version: str, due: bool
) -> None:
    host = prepare(monkeypatch, {PackageOrigins: {"consul": origin} if origin else {}})
    commands = package(store, version)
    assert bool(commands) is due
    assert due or host.logged
    if due:
        mask, update, _, installing = commands
        assert mask == "systemctl mask --quiet -- consul.service"
        assert "Dir::Etc::SourceList=/etc/apt/sources.list.d/groundwork-hashicorp.sources" in update
        assert "--error-on=any" in update
        assert 'consul="$chosen"' in installing and VENDOR in installing
    for command in commands:
        assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_nothing_is_installed_by_an_index_that_is_not_trusted_any_more(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(monkeypatch, {PackageOrigins: {}})
    index = store.folder / "hashicorp/dists/stable/InRelease"
    index.write_text(index.read_text().replace("Origin: A", "Origin: B"))
    with pytest.raises(OperationError, match="was changed after it was signed; groundwork artifacts fetch"):
        package(store)


def test_without_a_network_the_package_comes_from_here(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = ArtifactStore(store.folder, store.lock, offline=True)
    monkeypatch.setattr(vendor_packages, "open_store", lambda _: offline)
    host = prepare(monkeypatch, {PackageOrigins: {"consul": PackageOrigin("1.20.1-1")}})
    assert package(offline, "1.20.1") == [] and host.logged == ["consul 1.20.1-1 is installed"]
    # Somebody offers that version to the host, and the vendor cannot be who.
    foreign = PackageOrigin("1.20.1-1", ("http://deb.example.org/debian",))
    prepare(monkeypatch, {PackageOrigins: {"consul": foreign}})
    commands = package(offline, "1.20.1")
    assert any("sha256sum --check" in command for command in commands)
    assert commands[-1].count("/var/lib/groundwork/artifacts/consul_1.20.1-1_all.deb") == 2
    (offline.folder / "hashicorp/pool/consul_1.20.1-1_all.deb").write_bytes(b"x")
    with pytest.raises(OperationError, match="is not what the signed index says"):
        package(offline, "1.20.1")
    (offline.folder / "hashicorp/pool/consul_1.20.1-1_all.deb").unlink()
    with pytest.raises(OperationError, match="is not here"):
        package(offline, "1.20.1")


def test_an_archive_is_brought_once(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"2.17.0-{store.lock.archives['jaeger'].sha256['amd64'][:12]}"

    def run(folders: list[str], current: str, **data: str) -> list[str]:
        prepare(monkeypatch, {UnpackedArchives: {"folders": folders, "current": current}}, **data)
        return list_commands(release_archives.release_archive._inner(site=ANY_SITE, archive="jaeger"))

    assert run([name], name) == []
    for folders, current in (([], ""), (["2.16.0-abc"], "2.16.0-abc"), ([name], "2.16.0-abc"), ([], name)):
        commands = run(folders, current)
        assert f"/opt/groundwork/vendor/jaeger/{name}" in commands[-1]
        assert subprocess.run(["sh", "-n", "-c", commands[-1]], check=False).returncode == 0
    with pytest.raises(OperationError, match=r"archives\.jaeger\.sha256\.arm64: is not pinned"):
        run([], "", architecture="arm64")
    path, _ = store.open_archive("jaeger", "amd64")
    path.write_bytes(b"x")
    with pytest.raises(OperationError, match="has not the SHA-256"):
        run([], "")


def test_what_is_unpacked_is_read() -> None:
    fact = UnpackedArchives()
    assert fact.process(["/opt/x/2", "2", "1"]) == {"folders": ["1", "2"], "current": "2"}
    assert fact.process([""]) == {"folders": [], "current": ""}
