"""Builds what a vendor would offer: signing keys, Debian packages, a signed apt repository. Needs gpg and dpkg-deb."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

FIELDS = ("Package", "Version", "Architecture", "Maintainer", "Description", "Depends")


class Keyring:
    """Signing keys in a GnuPG home of their own; ``close`` ends the agent that GnuPG starts for it."""

    def __init__(self) -> None:
        # The agent's socket lies in it, and a socket's path has at most 108 bytes.
        self.home = Path(tempfile.mkdtemp(prefix="gw-gpg-", dir="/tmp"))
        self.home.chmod(0o700)
        self._made: dict[str, str] = {}

    def gpg(self, *arguments: str, text: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]
        done = subprocess.run([*command, "--passphrase", "", *arguments], input=text, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def make(self, name: str, *, expired: bool = False) -> str:
        """Make a key, once for each name, and return its fingerprint; an expired one was made in 2020 for a year."""
        if name in self._made:
            return self._made[name]
        then = ["--faked-system-time", "20200101T000000!"] if expired else []
        self.gpg(*then, "--quick-gen-key", f"{name} <{name}@example.org>", "ed25519", "sign", "1y" if expired else "2y")
        listed = self.gpg("--list-keys", "--with-colons", f"={name} <{name}@example.org>").decode().splitlines()
        self._made[name] = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))
        return self._made[name]

    def export(self, fingerprint: str) -> bytes:
        return self.gpg("--armor", "--export", fingerprint)

    def sign(self, fingerprint: str, content: bytes, *, expired: bool = False) -> bytes:
        then = ["--faked-system-time", "20200601T000000!"] if expired else []
        return self.gpg(*then, "--local-user", fingerprint, "--digest-algo", "SHA512", "--clearsign", text=content)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)


def build_package(
    folder: Path, name: str, version: str, files: Mapping[str, str | bytes] | None = None, depends: str = ""
) -> Path:
    """Build a Debian package with these files (absolute path to content; below a ``bin`` they can be run)."""
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary)
        (tree / "DEBIAN").mkdir()
        control = {"Package": name, "Version": version, "Architecture": "all", "Depends": depends}
        control |= {"Maintainer": "A vendor <vendor@example.org>", "Description": f"{name}, for a test"}
        text = "".join(f"{key}: {control[key]}\n" for key in FIELDS if control.get(key))
        (tree / "DEBIAN/control").write_text(text)
        for path, content in (files or {}).items():
            place = tree / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
            place.chmod(0o755 if place.parent.name == "bin" else 0o644)
        for directory, _, _ in os.walk(tree):
            Path(directory).chmod(0o755)
        folder.mkdir(parents=True, exist_ok=True)
        package = folder / f"{name}_{version}_all.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(package)],
            check=True,
            capture_output=True,
        )
    return package


@dataclass
class SignedRepository:
    """An apt repository below ``root``: packages go in with ``add``, ``publish`` writes and signs its index."""

    root: Path
    keyring: Keyring
    suite: str = "stable"
    origin: str = "A vendor"
    stanzas: list[str] = field(default_factory=list)

    @property
    def dists(self) -> Path:
        return self.root / "dists" / self.suite

    def add(self, package: Path) -> Path:
        """Take a package into the pool and the index."""
        place = self.root / "pool" / package.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if package != place:
            shutil.copyfile(package, place)
        control = subprocess.run(["dpkg-deb", "--field", str(place)], check=True, capture_output=True, text=True).stdout
        content = place.read_bytes()
        self.stanzas.append(
            f"{control.rstrip()}\nFilename: pool/{place.name}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
        return place

    def publish(self, fingerprint: str, *, expired: bool = False) -> None:
        """Write the index and sign it."""
        folder = self.dists / "main/binary-amd64"
        folder.mkdir(parents=True, exist_ok=True)
        text = "\n".join(self.stanzas).encode()
        (folder / "Packages").write_bytes(text)
        (folder / "Packages.gz").write_bytes(gzip.compress(text, mtime=0))
        lines = []
        for name in ("main/binary-amd64/Packages", "main/binary-amd64/Packages.gz"):
            content = (self.dists / name).read_bytes()
            lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}")
        moment = datetime(2020, 6, 1, tzinfo=UTC) if expired else datetime.now(UTC)
        head = {"Origin": self.origin, "Label": self.origin, "Suite": self.suite, "Codename": self.suite}
        head |= {"Date": f"{moment:%a, %d %b %Y %H:%M:%S} UTC", "Architectures": "amd64", "Components": "main"}
        release = "".join(f"{key}: {value}\n" for key, value in head.items()) + "SHA256:\n" + "\n".join(lines) + "\n"
        (self.dists / "InRelease").write_bytes(self.keyring.sign(fingerprint, release.encode(), expired=expired))
