"""Fetching and checking against a real signed repository and real archives, and all that can be wrong with them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from groundwork.artifacts.download import DownloadError, fetch_file
from groundwork.artifacts.needs import fetch_all, verify_all
from groundwork.artifacts.store import ArtifactStore, open_store
from groundwork.cli.artifacts import app
from groundwork.site import Site, load_site

ROOT = Path(__file__).resolve().parents[3]
RELEASE = "trixie"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundwork.artifacts.download.time.sleep", lambda _: None)


class Project:
    """A project with one host that runs Consul, and the lock file that the test writes."""

    def __init__(self, root: Path, vendor: Any) -> None:
        self.root, self.vendor = root, vendor
        (root / "inventories").mkdir(parents=True)
        (root / "platforms").mkdir()
        (root / "examples").symlink_to(ROOT / "examples")
        self.data: dict[str, object] = {"artifacts_folder": str(root / "store")}
        self.lock: dict[str, Any] = {
            "repositories": {
                "hashicorp": {
                    "uri": f"{vendor.url}/repository",
                    "suite": "stable",
                    "key": f"{vendor.url}/key.asc",
                    "fingerprints": [vendor.fingerprint],
                    "packages": ["consul"],
                }
            }
        }
        self.consul: dict[str, object] = {"hosts": "data"}

    @property
    def repository(self) -> dict[str, Any]:
        found: dict[str, Any] = self.lock["repositories"]["hashicorp"]
        return found

    def load(self) -> tuple[Site, ArtifactStore]:
        data = {"environment": "here", "platform": "small", "address": "192.0.2.1", "release": RELEASE, **self.data}
        # pyinfra reads an inventory once in a process, so what changes lies beside it.
        (self.root / "data.json").write_text(json.dumps(data))
        where = repr(str(self.root / "data.json"))
        text = f"import json\nfrom pathlib import Path\n\ndata = [('one', json.loads(Path({where}).read_text()))]\n"
        (self.root / "inventories/here.py").write_text(text)
        manifest = {
            "platform": "small",
            "runtime": {"package": {"directory": "../examples/agent_runtime"}, "launcher": "agent_runtime"},
            "services": {"consul": self.consul},
            "groups": {"some": {"hosts": "data", "module": "m", "agents": {"worker": {"port": 8000}}}},
            "lab": {"hosts": {"one": ["data"]}},
        }
        (self.root / "platforms/small.yaml").write_text(yaml.safe_dump(manifest))
        (self.root / "artifacts.lock").write_text(yaml.safe_dump(self.lock))
        site = load_site("here", self.root)
        return site, open_store(site)

    def fetch(self) -> dict[str, str]:
        """Finding of each item, empty where it is here and right."""
        return {one.item: one.finding for one in fetch_all(*self.load())}

    def verify(self) -> dict[str, str]:
        return {one.item: one.finding for one in verify_all(*self.load())}

    def only(self, findings: dict[str, str]) -> str:
        (finding,) = findings.values()
        return finding

    def files(self) -> set[str]:
        store = self.root / "store"
        return {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}


@pytest.fixture
def project(tmp_path: Path, vendor: Any) -> Project:
    vendor.publish()
    return Project(tmp_path / "project", vendor)


def test_fetches_what_is_needed_and_nothing_twice(project: Project, vendor: Any) -> None:
    assert project.only(project.fetch()) == ""
    assert project.files() == {
        "hashicorp/key.asc",
        "hashicorp/dists/stable/InRelease",
        "hashicorp/dists/stable/main/binary-amd64/Packages.gz",
        "hashicorp/pool/consul_1.20.10-1_all.deb",
    }
    assert project.only(project.verify()) == ""
    vendor.asked.clear()
    assert project.only(project.fetch()) == ""
    assert [path for path, _ in vendor.asked] == ["/key.asc", "/repository/dists/stable/InRelease"]


def test_a_wanted_release_is_taken_and_a_missing_one_named(project: Project) -> None:
    project.consul["version"] = "1.20.1"
    assert project.only(project.fetch()) == ""
    _, store = project.load()
    entry, path = store.open_package("hashicorp", RELEASE, "amd64", "consul", "1.20.1")
    assert (entry.version, path.name) == ("1.20.1-1", "consul_1.20.1-1_all.deb")
    project.consul["version"] = "3.0"
    assert project.only(project.fetch()) == "has no consul 3.0; newest it has: 1.20.10-1, 1.20.1-1, 1.9.0-1"


def test_hosts_that_reach_the_vendor_need_the_key_and_the_index_only(project: Project) -> None:
    project.data.clear()
    assert project.only(project.fetch()) == ""
    store = project.root / ".cache/artifacts/here"
    assert {path.name for path in store.rglob("*") if path.is_file()} == {"key.asc", "InRelease"}


def test_a_key_that_is_not_pinned_is_refused(project: Project, vendor: Any) -> None:
    other = vendor.keyring.make("somebody")
    (vendor.root / "key.asc").write_bytes(vendor.keyring.export(other))
    finding = project.only(project.fetch())
    assert other in finding and vendor.fingerprint in finding
    assert project.files() == set()


def test_a_key_file_with_one_key_more_is_refused(project: Project, vendor: Any) -> None:
    other = vendor.keyring.make("another")
    both = vendor.keyring.gpg("--armor", "--export", vendor.fingerprint, other)
    (vendor.root / "key.asc").write_bytes(both)
    assert other in project.only(project.fetch())


def test_an_index_signed_by_another_key_is_refused(project: Project, vendor: Any) -> None:
    vendor.publish().publish(vendor.keyring.make("intruder"))
    assert project.only(project.fetch()) == "is signed by a key that is not pinned"
    assert project.files() == {"hashicorp/key.asc"}


def test_an_expired_key_is_refused(project: Project, vendor: Any) -> None:
    old = vendor.keyring.make("old", expired=True)
    vendor.publish().publish(old, expired=True)
    (vendor.root / "key.asc").write_bytes(vendor.keyring.export(old))
    project.repository["fingerprints"] = [old]
    assert project.only(project.fetch()) == "is signed by a key that has expired"


def test_an_index_that_was_changed_is_refused(project: Project, vendor: Any) -> None:
    index = vendor.root / "repository/dists/stable/InRelease"
    index.write_text(index.read_text().replace("Origin: A vendor", "Origin: B vendor"))
    assert project.only(project.fetch()) == "was changed after it was signed"


def test_text_around_the_signed_part_does_not_count(project: Project, vendor: Any) -> None:
    index = vendor.root / "repository/dists/stable/InRelease"
    index.write_text(f"SHA256:\n {'0' * 64} 1 main/binary-amd64/Packages.xz\n\n" + index.read_text())
    finding = project.only(project.fetch())
    # gpgv refuses the whole; should a version of it not, the text outside is not read.
    assert finding or "Packages.xz" not in " ".join(project.files())


def test_an_unsigned_index_is_refused(project: Project, vendor: Any) -> None:
    (vendor.root / "repository/dists/stable/InRelease").write_text("Origin: A vendor\n")
    assert project.only(project.fetch()) == "is not signed"


def test_an_older_index_is_refused_once_a_newer_was_seen(project: Project, vendor: Any) -> None:
    assert project.only(project.fetch()) == ""
    repository = vendor.root / "repository/dists/stable/InRelease"
    text = project.load()[1].read_release("hashicorp", RELEASE)
    line = next(line for line in text.splitlines() if line.startswith("Date:"))
    older = text.replace(line, "Date: Mon, 06 Jan 2025 00:00:00 UTC")
    repository.write_bytes(vendor.keyring.sign(vendor.fingerprint, older.encode()))
    assert "older than the one that is here" in project.only(project.fetch())
    ended = text.replace(line, f"{line}\nValid-Until: Mon, 06 Jan 2025 00:00:00 UTC")
    repository.write_bytes(vendor.keyring.sign(vendor.fingerprint, ended.encode()))
    assert "was valid until" in project.only(project.fetch())
    assert project.only(project.verify()) == ""


def test_a_changed_package_is_refused(project: Project, vendor: Any) -> None:
    package = vendor.root / "repository/pool/consul_1.20.10-1_all.deb"
    content = package.read_bytes()
    package.write_bytes(content[:-1] + b"x")
    assert "must have" in project.only(project.fetch())
    assert not any(name.endswith((".deb", ".part", "InRelease")) for name in project.files())


def test_a_changed_list_is_refused(project: Project, vendor: Any) -> None:
    lists = vendor.root / "repository/dists/stable/main/binary-amd64/Packages.gz"
    lists.write_bytes(lists.read_bytes()[:-1] + b"x")
    assert "must have" in project.only(project.fetch())
    assert project.files() == {"hashicorp/key.asc", "hashicorp/dists/stable/InRelease.new"}


def test_a_download_that_broke_off_goes_on(project: Project, vendor: Any) -> None:
    path = "/repository/pool/consul_1.20.10-1_all.deb"
    size = (vendor.root / path.lstrip("/")).stat().st_size
    vendor.break_after[path] = size // 2
    assert project.only(project.fetch()) == ""
    assert [wanted for asked, wanted in vendor.asked if asked == path] == ["", f"bytes={size // 2}-"]
    assert project.only(project.verify()) == ""


def test_a_killed_fetch_leaves_the_former_state_and_is_completed(project: Project, vendor: Any) -> None:
    assert project.only(project.fetch()) == ""
    before = {name: (project.root / "store" / name).read_bytes() for name in project.files()}
    from tests.signed_repository import build_package

    repository = vendor.publish()
    repository.add(build_package(vendor.root / "built", "consul", "1.21.0-1", {"/usr/bin/consul": "y" * 300_000}))
    repository.publish(vendor.fingerprint)
    package = vendor.root / "repository/pool/consul_1.21.0-1_all.deb"
    whole = package.read_bytes()
    package.unlink()
    assert "answers 404" in project.only(project.fetch())
    # Whatever of the new state is here, the former one is whole.
    assert project.only(project.verify()) == ""
    assert {name: (project.root / "store" / name).read_bytes() for name in before} == before
    package.write_bytes(whole)
    assert project.only(project.fetch()) == ""
    _, store = project.load()
    assert store.find_package("hashicorp", RELEASE, "amd64", "consul").version == "1.21.0-1"
    assert not any(name.endswith((".new", ".part")) for name in project.files())


def test_verify_finds_what_is_missing_or_was_changed(project: Project) -> None:
    assert project.only(project.verify()) == "is not here"
    project.fetch()
    (package,) = (project.root / "store").rglob("*.deb")
    package.write_bytes(package.read_bytes() + b"x")
    assert "is not what the signed index says" in project.only(project.verify())
    assert project.only(project.fetch()) == ""
    assert project.only(project.verify()) == ""


def test_a_copy_of_the_folder_serves_as_mirror(project: Project, vendor: Any) -> None:
    project.fetch()
    (project.root / "store").rename(vendor.root / "mirror")
    (vendor.root / "repository").rename(vendor.root / "gone")
    (vendor.root / "key.asc").unlink()
    project.data["artifacts_mirror"] = f"{vendor.url}/mirror/"
    assert project.only(project.fetch()) == ""
    _, store = project.load()
    assert store.root_url("hashicorp") == f"{vendor.url}/mirror/hashicorp"
    assert store.origin_pin("hashicorp", RELEASE) == "release o=A vendor,l=A vendor,a=stable,n=stable"


def make_archive(path: Path, content: bytes = b"#!/bin/sh\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("jaeger/jaeger")
        info.size, info.mode = len(content), 0o755
        archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_archives_by_their_digest(project: Project, vendor: Any) -> None:
    digest = make_archive(vendor.root / "v2.17.0/jaeger-2.17.0-linux-amd64.tar.gz")
    url = f"{vendor.url}/v{{version}}/jaeger-{{version}}-linux-{{architecture}}.tar.gz"
    project.lock["archives"] = {"jaeger": {"version": "2.17.0", "url": url, "sha256": {"amd64": digest}}}
    findings = project.fetch()
    assert set(findings.values()) == {""}
    assert "archives/jaeger/2.17.0/jaeger-2.17.0-linux-amd64.tar.gz" in project.files()
    project.lock["archives"]["jaeger"]["sha256"]["amd64"] = "0" * 64
    assert "has not the SHA-256 in artifacts.lock" in project.verify()["archive jaeger 2.17.0 for amd64"]
    assert f"has SHA-256 {digest}, must have {'0' * 64}" in project.fetch()["archive jaeger 2.17.0 for amd64"]


def test_a_server_that_ignores_ranges_and_one_that_never_ends_well(tmp_path: Path, vendor: Any) -> None:
    content = b"0123456789" * 10_000
    (vendor.root / "file").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    vendor.ignore_ranges = True
    vendor.break_after["/file"] = 50_000
    assert fetch_file(f"{vendor.url}/file", tmp_path / "file", sha256=digest, size=len(content))
    assert (tmp_path / "file").read_bytes() == content
    with pytest.raises(DownloadError, match="larger than"):
        fetch_file(f"{vendor.url}/file", tmp_path / "small", largest=1000)
    with pytest.raises(DownloadError, match="has 100000 bytes, must have 100001"):
        fetch_file(f"{vendor.url}/file", tmp_path / "large", sha256=digest, size=100_001)
    with pytest.raises(DownloadError, match="answers 404"):
        fetch_file(f"{vendor.url}/none", tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["file"]


def test_a_whole_part_is_not_fetched_again(tmp_path: Path, vendor: Any) -> None:
    (vendor.root / "file").write_bytes(b"whole")
    (tmp_path / "file.part").write_bytes(b"whole")
    digest = hashlib.sha256(b"whole").hexdigest()
    assert fetch_file(f"{vendor.url}/file", tmp_path / "file", sha256=digest, size=5)
    (tmp_path / "other.part").write_bytes(b"wrong")
    with pytest.raises(DownloadError, match="must have"):
        fetch_file(f"{vendor.url}/file", tmp_path / "other", sha256=digest, size=5)
    assert not (tmp_path / "other.part").exists()


def test_a_host_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:1/file: .*refused"):
        fetch_file("http://127.0.0.1:1/file", tmp_path / "file")


def test_the_command_and_its_exit_codes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.load()
    monkeypatch.setenv("GROUNDWORK_ROOT", str(project.root))

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(app, [*arguments, "here", "--json"])
        return done.exit_code, json.loads(done.stdout)

    assert run("verify")[0] == 2
    code, answer = run("fetch")
    assert (code, [one["state"] for one in answer["items"]]) == (0, ["fetched"])
    assert answer["items"][0]["item"] == "consul of hashicorp for trixie/amd64"
    assert run("verify") == (0, answer | {"items": [answer["items"][0] | {"state": "there"}]})
    (project.root / "artifacts.lock").write_text("version: 1\nrepositories: {hashicorp: {uri: 5}}\n")
    code, answer = run("fetch")
    assert code == 1
    assert {one["key"] for one in answer["problems"]} >= {"repositories.hashicorp.key"}
