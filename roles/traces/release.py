"""Phoenix and its dependencies as one archive of wheels, collected on the controller by the locked digests."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from groundwork.artifacts.wheels import download_wheels, locked

LOCK = Path(__file__).parent / "phoenix.lock"
KEY = "observability.traces.backend"
DESCRIPTION, ARCHIVE = "release.json", "phoenix.tar"


@dataclass(frozen=True)
class Release:
    """A release ready to be sent: its name, the archive, and the archive's SHA-256."""

    name: str
    archive: Path
    digest: str


def name_release(python: str, machine: str) -> str:
    """``<version>+<8 hexadecimal digits>`` of what the lock pins for a host's Python and machine."""
    content = LOCK.read_text("utf-8")
    version = re.search(r"^arize-phoenix==(\S+)", content, re.MULTILINE)
    assert version is not None
    return f"{version[1]}+{hashlib.sha256(f'{python} {machine} {content}'.encode()).hexdigest()[:8]}"


def collect_release(root: Path, python: str, machine: str) -> Release:
    """Return the archive for one kind of host; collected once, then taken from ``<root>/.cache/phoenix``.

    Raises ProblemError when a wheel cannot be had or differs from its digest.
    """
    name = name_release(python, machine)
    cache = root / ".cache" / "phoenix"
    done = cache / name
    with locked(cache, name):
        if not (done / DESCRIPTION).is_file():
            with tempfile.TemporaryDirectory(prefix=".collect-", dir=cache) as scratch:
                _fill(Path(scratch), python, machine)
                shutil.rmtree(done, ignore_errors=True)
                Path(scratch).rename(done)
                done.chmod(0o755)
                Path(scratch).mkdir()  # for TemporaryDirectory to remove
    digest = json.loads((done / DESCRIPTION).read_text("utf-8"))["digest"]
    return Release(name, done / ARCHIVE, digest)


def _fill(scratch: Path, python: str, machine: str) -> None:
    wheels = scratch / "wheels"
    wheels.mkdir()
    download_wheels(wheels, python, machine, ["--require-hashes", "-r", str(LOCK)], KEY)
    digest = hashlib.sha256()
    with tarfile.open(scratch / ARCHIVE, "w") as tar:
        lock = LOCK.read_bytes()
        entry = tarfile.TarInfo("requirements.lock")
        entry.size = len(lock)
        tar.addfile(entry, io.BytesIO(lock))
        for path in sorted(wheels.iterdir()):
            entry = tarfile.TarInfo(f"wheels/{path.name}")
            entry.size = path.stat().st_size
            with path.open("rb") as stream:
                tar.addfile(entry, stream)
    shutil.rmtree(wheels)
    with (scratch / ARCHIVE).open("rb") as stream:
        while chunk := stream.read(1024 * 1024):
            digest.update(chunk)
    (scratch / DESCRIPTION).write_text(json.dumps({"digest": digest.hexdigest()}), "utf-8")
