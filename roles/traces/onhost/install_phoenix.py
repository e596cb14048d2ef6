"""Make the environment of a release of Phoenix: complete or not there at all, from the archive's wheels alone.

    python3 install_phoenix.py ARCHIVE SHA256 RELEASE

RELEASE is the folder to make. What a run that was killed left there is removed, and the marker comes last. Of the
releases beside it the last one stays. Standard library alone.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

MARKER = ".complete"
KEEP = 2


def unpack(archive: Path, folder: Path) -> None:
    """Unpack plain files; the filters of tarfile are newer than Debian 12's Python."""
    with tarfile.open(archive) as tar:
        for entry in tar:
            stream = tar.extractfile(entry) if entry.isreg() else None
            if stream is None or entry.name.startswith("/") or ".." in entry.name.split("/"):
                raise SystemExit(f"the archive holds {entry.name}, which is no plain file")
            place = folder / entry.name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                shutil.copyfileobj(stream, file)


def run(*command: str) -> None:
    """Run a program; what it says is the reason where it fails."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    if done.returncode:
        raise SystemExit((done.stderr or done.stdout).strip()[-1500:])


def install(archive: Path, sha256: str, release: Path) -> None:
    """Build the release's environment at its final path, since its scripts carry that path."""
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise SystemExit("the archive was damaged on its way")
    shutil.rmtree(release, ignore_errors=True)
    staging = release.parent / ".staging"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        unpack(archive, staging)
        run("python3", "-m", "venv", str(release))
        python = str(release / "bin/python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
        wheels = [f"--find-links={staging / 'wheels'}", "--require-hashes", "-r", str(staging / "requirements.lock")]
        # Compiled while installing: the service may not write there.
        run(*pip, "install", "--no-index", "--no-cache-dir", "--no-deps", "--compile", *wheels)
        run(*pip, "check")
        run(python, "-I", "-c", "import phoenix.version")
        (release / MARKER).write_text(f"{sha256}\n")
    except BaseException:
        shutil.rmtree(release, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def prune(release: Path) -> None:
    """Remove what is incomplete, and all but the newest two."""
    found = [path for path in release.parent.iterdir() if path.is_dir() and path != release]
    complete = [path for path in found if (path / MARKER).is_file()]
    complete.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in found:
        if path not in complete[: KEEP - 1]:
            shutil.rmtree(path)


if __name__ == "__main__":
    given = Path(sys.argv[1])
    try:
        install(given, sys.argv[2], Path(sys.argv[3]))
    finally:
        given.unlink(missing_ok=True)
    prune(Path(sys.argv[3]))
