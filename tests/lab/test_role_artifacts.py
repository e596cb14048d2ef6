"""The role artifacts on a real host: what apt takes from a vendor, what it refuses, and what is left behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.artifacts.needs import fetch_all, verify_all
from groundwork.artifacts.store import open_store
from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.site import load_site
from tests.signed_repository import Keyring, SignedRepository, build_package

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-artifacts-{RELEASE}"
DEPLOY = Path("deploys/artifacts_only.py")
SOURCE = "/etc/apt/sources.list.d/groundwork-hashicorp.sources"
OTHER = "/etc/apt/sources.list.d/other.list"
DEPLOYED = """
from groundwork.operations.release_archives import release_archive
from groundwork.operations.vendor_packages import vendor_package
from groundwork.site import current_site
from groundwork.topology.vendor_parts import list_vendor_packages
from pyinfra import host
from roles.artifacts.deploy import artifacts

site = current_site()
artifacts(site)
for one in list_vendor_packages(site.platform, site.topology, host.name):
    vendor_package(name=f"Install {one.package}", site=site, package=one.package, version=one.version)
    release_archive(name="Unpack jaeger", site=site, archive="jaeger")
"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Stage:
    """A lab whose host ``data`` takes a package from a vendor that this test plays."""

    def __init__(self, root: Path, keyring: Keyring) -> None:
        self.root, self.keyring = root, keyring
        self.web = root / "web"
        self.fingerprint = keyring.make("vendor")
        for name in (".lab", "inventories", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        for name in ("platforms", "deploys", "group_data", "web"):
            (root / name).mkdir()
        (root / DEPLOY).write_text(DEPLOYED)
        # pyinfra reads such a file once in a process, so what changes lies beside it.
        text = (ROOT / "group_data/lab.py").read_text() + "\nimport json as _json\nfrom pathlib import Path as _Path\n"
        text += f"\nglobals().update(_json.loads(_Path({str(root / 'data.json')!r}).read_text()))\n"
        (root / "group_data/lab.py").write_text(text)
        self.data: dict[str, str] = {}
        self.manifest: dict[str, Any] = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.manifest["services"]["consul"] = {"hosts": "data"}
        self.url = ""
        self.lock: dict[str, Any] = {}

    def publish(self, *versions: str) -> SignedRepository:
        repository = SignedRepository(self.web / "repository", self.keyring)
        for version in versions:
            files = {"/usr/bin/consul": f"#!/bin/sh\necho vendor {version}\n"}
            repository.add(build_package(self.root / "built", "consul", version, files, depends="hello"))
        # Newer than Debian's, and nobody's business here.
        for name in ("hello", "bash"):
            repository.add(build_package(self.root / "built", name, "99.0-1"))
        repository.publish(self.fingerprint)
        (self.web / "key.asc").write_bytes(self.keyring.export(self.fingerprint))
        archive = self.web / "jaeger-2.17.0-amd64.tar.gz"
        content = b"#!/bin/sh\necho jaeger 2.17.0\n"
        with tarfile.open(archive, "w:gz") as opened:
            info = tarfile.TarInfo("jaeger/jaeger")
            info.size, info.mode = len(content), 0o755
            opened.addfile(info, io.BytesIO(content))
        self.lock = {
            "repositories": {
                "hashicorp": {
                    "uri": f"{self.url}/repository",
                    "suite": "stable",
                    "key": f"{self.url}/key.asc",
                    "fingerprints": [self.fingerprint],
                    "packages": ["consul"],
                }
            },
            "archives": {
                "jaeger": {
                    "version": "2.17.0",
                    "url": f"{self.url}/jaeger-{{version}}-{{architecture}}.tar.gz",
                    "sha256": {"amd64": hashlib.sha256(archive.read_bytes()).hexdigest()},
                }
            },
        }
        return repository

    def write(self) -> None:
        (self.root / "platforms/chorus.yaml").write_text(yaml.safe_dump(self.manifest))
        (self.root / "artifacts.lock").write_text(yaml.safe_dump(self.lock))
        (self.root / "data.json").write_text(json.dumps(self.data))

    def fetch(self) -> dict[str, str]:
        self.write()
        site = load_site("lab", self.root)
        return {one.item: one.finding for one in fetch_all(site, open_store(site))}

    def apply(self) -> RunResult:
        self.write()
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        self.write()
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def run(self, host: str, command: str) -> str:
        call = [sys.executable, "-m", "groundwork.cli.lab", "exec", "--json", "--name", NAME, host, "--", command]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        answer = json.loads(done.stdout)
        return str(answer["stdout"] + answer.get("stderr", "")).strip()


def changes(result: RunResult) -> dict[str, list[str]]:
    quiet = (OperationStatus.UNCHANGED,)
    return {host.name: [op.name for op in host.operations if op.status not in quiet] for host in result.hosts}


def reasons(result: RunResult) -> str:
    return " ".join(f"{host.name}: {host.reason}" for host in result.hosts if host.failed) + " ".join(
        str(problem) for problem in result.problems
    )


def run_verification(root: Path) -> subprocess.CompletedProcess[str]:
    """The role's own verification, against this test's project."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/verify/test_artifacts.py"]
    environment = {**os.environ, "GROUNDWORK_ROOT": str(root), "GROUNDWORK_LAB": NAME, "GROUNDWORK_ENV": "lab"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=600, check=False)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if shutil.which("gpg") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("gpg or dpkg-deb is not installed")
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
    keyring = Keyring()
    stage = Stage(tmp_path_factory.mktemp("project"), keyring)
    gateway = stage.run("data", "ip -4 route show default").split()[2]
    server = ThreadingHTTPServer((gateway, 0), partial(QuietHandler, directory=str(stage.web)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stage.url = f"http://{gateway}:{server.server_port}"
    stage.publish("1.20.1-1", "1.20.10-1")
    # On a lab that an earlier run left.
    stage.run("data", f"rm -f {SOURCE}; apt-get -q -y remove consul; rm -rf /opt/groundwork/vendor")
    yield stage
    server.shutdown()
    keyring.close()
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before


def test_nothing_changes_before_the_key_is_here(stage: Stage) -> None:
    result = stage.apply()
    assert "the key of hashicorp is not here" in reasons(result)
    assert stage.run("data", f"ls {SOURCE} 2>&1").endswith("No such file or directory")


def test_installs_what_is_declared_and_nothing_else(stage: Stage) -> None:
    stage.manifest["services"]["consul"]["version"] = "1.20.1"
    # A package of that name from elsewhere, newer than the vendor's, is there before and must go.
    foreign = build_package(stage.root / "foreign", "consul", "2.4.7-1", {"/usr/bin/consul": "#!/bin/sh\necho other\n"})
    other = SignedRepository(stage.web / "other", stage.keyring, origin="Somebody")
    other.add(foreign)
    other.publish(stage.fingerprint)
    gateway, _, port = stage.url.removeprefix("http://").partition(":")
    line = f"deb [trusted=yes] http://other.example.org:{port}/other stable main"
    stage.run("data", f"echo {gateway} other.example.org >>/etc/hosts; echo '{line}' >{OTHER}")
    stage.run("data", "apt-get -qq update && apt-get -qq install -y consul")
    assert stage.run("data", "consul") == "other"
    assert set(stage.fetch().values()) == {""}
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    assert stage.run("data", "consul") == "vendor 1.20.1-1"
    assert changes(stage.plan()) == {"app": [], "data": []}
    versions = stage.run("data", "dpkg-query -W -f '${Package} ${Version}\\n' consul hello bash").splitlines()
    assert versions[1] == "consul 1.20.1-1"
    assert not any("99.0" in line for line in versions)
    candidates = stage.run("data", "apt-cache policy bash hello | grep -c 'Candidate: 99'")
    assert candidates.split()[0] == "0"
    # The unrelated package of the same name stays out, whatever its version.
    assert "2.4.7" not in stage.run("data", "apt-cache policy consul | grep Candidate")
    assert "99.0" not in stage.run("data", "apt-get -s dist-upgrade")
    assert stage.run("data", "/opt/groundwork/vendor/jaeger/current/jaeger/jaeger") == "jaeger 2.17.0"
    assert stage.run("app", f"ls {SOURCE} 2>&1").endswith("No such file or directory")
    verified = run_verification(stage.root)
    assert verified.returncode == 0, verified.stdout[-5000:]
    stage.run("data", f"rm {OTHER} && apt-get -qq update")


def test_a_wanted_release_replaces_the_former_one(stage: Stage) -> None:
    stage.manifest["services"]["consul"]["version"] = "1.20.10"
    result = stage.apply()
    assert changes(result) == {"app": [], "data": ["Install consul"]}
    assert stage.run("data", "consul") == "vendor 1.20.10-1"
    stage.manifest["services"]["consul"]["version"] = "3.0"
    result = stage.apply()
    assert "has no consul 3.0" in reasons(result)
    assert stage.run("data", "consul") == "vendor 1.20.10-1"
    stage.manifest["services"]["consul"]["version"] = "1.20.10"


def test_what_apt_does_not_accept_is_not_added(stage: Stage) -> None:
    """The mirror serves a tampered index after the controller has seen a good one."""
    stage.run("data", f"rm {SOURCE}; apt-get -q -y remove consul")
    index = stage.web / "repository/dists/stable/InRelease"
    good = index.read_bytes()
    try:
        index.write_bytes(good.replace(b"Origin: A vendor", b"Origin: B vendor"))
        result = stage.apply()
        assert "InRelease" in reasons(result) or "sign" in reasons(result), reasons(result)
        assert stage.run("data", f"ls {SOURCE} 2>&1").endswith("No such file or directory")
        # Updates of everything else go on working.
        assert stage.run("data", "apt-get -qq update >/dev/null 2>&1; echo $?") == "0"
        old = stage.keyring.make("old", expired=True)
        SignedRepository(stage.web / "repository", stage.keyring).publish(old, expired=True)
        (stage.web / "key.asc").write_bytes(stage.keyring.export(old))
        stage.lock["repositories"]["hashicorp"]["fingerprints"] = [old]
        assert "is signed by a key that has expired" in stage.fetch().values()
        assert "the index of hashicorp is signed by a key" in reasons(stage.apply())
        assert "not found" in stage.run("data", "consul 2>&1")
    finally:
        stage.publish("1.20.1-1", "1.20.10-1")
    assert set(stage.fetch().values()) == {""}
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    assert stage.run("data", "consul") == "vendor 1.20.10-1"


def test_a_tampered_package_is_not_installed(stage: Stage) -> None:
    stage.run("data", "apt-get -q -y remove consul; rm -rf /var/cache/apt/archives/consul*")
    package = stage.web / "repository/pool/consul_1.20.10-1_all.deb"
    good = package.read_bytes()
    try:
        package.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        result = stage.apply()
        assert "data" in reasons(result)
        assert "not found" in stage.run("data", "consul 2>&1; dpkg -s consul 2>&1 | head -n 3")
    finally:
        package.write_bytes(good)
    assert not stage.apply().failed_hosts
    assert stage.run("data", "consul") == "vendor 1.20.10-1"


def test_a_mirror_and_then_the_controller_alone(stage: Stage) -> None:
    """A copy of the controller's folder behind a web server; then no network but to the controller."""
    stage.data["artifacts_folder"] = str(stage.root / "store")
    assert set(stage.fetch().values()) == {""}
    shutil.copytree(stage.root / "store", stage.web / "mirror")
    (stage.web / "repository").rename(stage.web / "gone")
    (stage.web / "key.asc").unlink()
    stage.data = {"artifacts_mirror": f"{stage.url}/mirror"}
    shutil.rmtree(stage.root / ".cache")
    assert set(stage.fetch().values()) == {""}
    stage.run("data", "apt-get -q -y remove consul")
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    assert stage.run("data", "consul") == "vendor 1.20.10-1"
    assert f"URIs: {stage.url}/mirror/hashicorp" in stage.run("data", f"cat {SOURCE}")
    assert "Pin: release o=A vendor,l=A vendor" in stage.run("data", "cat /etc/apt/preferences.d/groundwork-hashicorp")
    (stage.web / "mirror").rename(stage.web / "gone-too")
    stage.data = {"artifacts_folder": str(stage.root / "store")}
    site = load_site("lab", stage.root)
    stage.write()
    stage.run("data", "apt-get -q -y remove consul; rm -rf /opt/groundwork/vendor")
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    assert stage.run("data", "consul") == "vendor 1.20.10-1"
    assert stage.run("data", "/opt/groundwork/vendor/jaeger/current/jaeger/jaeger") == "jaeger 2.17.0"
    assert stage.run("data", f"ls {SOURCE} 2>&1").endswith("No such file or directory")
    assert changes(stage.plan()) == {"app": [], "data": []}
    verified = run_verification(stage.root)
    assert verified.returncode == 0, verified.stdout[-5000:]
    store = open_store(load_site("lab", stage.root))
    assert not any(one.finding for one in verify_all(site, store))
    package = store.folder / "hashicorp/pool/consul_1.20.10-1_all.deb"
    content = package.read_bytes()
    package.write_bytes(content + b"x")
    stage.run("data", "apt-get -q -y remove consul")
    assert "is not what the signed index says" in reasons(stage.apply())
    package.write_bytes(content)
    assert not stage.apply().failed_hosts


def test_what_is_no_longer_declared_goes(stage: Stage) -> None:
    del stage.manifest["services"]["consul"]
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    assert stage.run("data", "find /etc/apt -name '*groundwork-*'; ls /var/lib/groundwork/artifacts") == ""
    assert stage.run("data", "apt-get -qq update >/dev/null 2>&1; echo $?") == "0"
    # The package stays, as data does.
    assert stage.run("data", "consul") == "vendor 1.20.10-1"
    assert changes(stage.plan()) == {"app": [], "data": []}
