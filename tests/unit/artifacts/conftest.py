"""A vendor as these tests have it: keys, a signed repository, and a web server that can break off."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.signed_repository import Keyring, SignedRepository, build_package


class Vendor:
    """The web server's root, what it was asked, and where it breaks off."""

    def __init__(self, root: Path, keyring: Keyring, built: Path) -> None:
        self.root, self.keyring, self.built = root, keyring, built
        self.asked: list[tuple[str, str]] = []
        self.break_after: dict[str, int] = {}
        """Bytes after which a path's next answer breaks off."""
        self.ignore_ranges = False
        self.url = ""
        self.fingerprint = keyring.make("vendor")

    def publish(self) -> SignedRepository:
        repository = SignedRepository(self.root / "repository", self.keyring)
        for package in sorted(self.built.glob("*.deb")):
            repository.add(package)
        repository.publish(self.fingerprint)
        (self.root / "key.asc").write_bytes(self.keyring.export(self.fingerprint))
        return repository


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, vendor: Vendor, *arguments: Any) -> None:
        self.vendor = vendor
        super().__init__(*arguments, directory=str(vendor.root))

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.vendor.asked.append((self.path, wanted))
        path = self.vendor.root / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and not self.vendor.ignore_ranges else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.vendor.break_after.pop(self.path, len(content))
        self.wfile.write(content[start:end])


@pytest.fixture(scope="session")
def keyring() -> Iterator[Keyring]:
    if not all(shutil.which(program) for program in ("gpg", "gpgv", "dpkg-deb")):
        pytest.skip("gpg, gpgv or dpkg-deb is not installed")
    ring = Keyring()
    yield ring
    ring.close()


@pytest.fixture(scope="session")
def built(keyring: Keyring, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vendor's packages."""
    folder = tmp_path_factory.mktemp("built")
    for version in ("1.9.0-1", "1.20.1-1", "1.20.10-1"):
        build_package(folder, "consul", version, {"/usr/bin/consul": version * 50_000})
    build_package(folder, "bash", "99.0-1")
    return folder


@pytest.fixture
def vendor(tmp_path: Path, keyring: Keyring, built: Path) -> Iterator[Vendor]:
    root = tmp_path / "vendor"
    root.mkdir()
    vendor = Vendor(root, keyring, built)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, vendor))
    vendor.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield vendor
    server.shutdown()
    server.server_close()
