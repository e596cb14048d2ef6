"""Installed versions of the runtime package: complete or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Collection
from pathlib import Path

from .layout import Layout, write_file

MARKER = ".complete"
DESCRIPTION = "release.json"

_PROBES = {
    "imports": "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]",
    "finds": "import importlib.util as u, sys; lost = [n for n in sys.argv[1:] if u.find_spec(n) is None];"
    "sys.exit(f'no module {lost[0]}' if lost else 0)",
}


class InstallError(Exception):
    """A release cannot be installed; the message says why."""


def list_releases(layout: Layout) -> list[str]:
    """Names of the complete releases, the one installed last first."""
    markers = [path for path in layout.releases.glob(f"*/{MARKER}") if path.is_file()]
    markers.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return [path.parent.name for path in markers]


def install_release(layout: Layout, name: str, archive: Path, digest: str) -> None:
    """Build the release's environment from the archive's wheels, without any network.

    ``digest`` is the archive's SHA-256. The environment is made at its final path, since its scripts carry that
    path; what an interrupted installation left there is removed, and the marker comes last.

    Raises InstallError; nothing that looks like a release is left behind.
    """
    target = layout.releases / name
    if (target / MARKER).is_file():
        archive.unlink(missing_ok=True)
        return
    if target.exists():
        shutil.rmtree(target)
    staging = layout.releases.parent / f".staging-{name}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        if hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
            raise InstallError(f"{archive} arrived damaged")
        staging.mkdir(parents=True)
        _unpack(archive, staging)
        description = json.loads((staging / DESCRIPTION).read_text("utf-8"))
        layout.releases.mkdir(parents=True, exist_ok=True)
        _build_environment(target, staging, description)
        write_file(target / DESCRIPTION, json.dumps(description).encode())
        write_file(target / MARKER, f"{digest}\n".encode())
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        archive.unlink(missing_ok=True)


def _unpack(archive: Path, staging: Path) -> None:
    """Unpack plain files below ``staging``; the filters of tarfile are newer than Debian 12's Python."""
    with tarfile.open(archive) as tar:
        for entry in tar:
            stream = tar.extractfile(entry) if entry.isreg() else None
            if stream is None or entry.name.startswith("/") or ".." in entry.name.split("/"):
                raise InstallError(f"{archive} holds {entry.name}, which is no plain file")
            write_file(staging / entry.name, stream.read())


def _build_environment(target: Path, staging: Path, description: dict[str, str]) -> None:
    python = str(target / "bin/python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
    install = [*pip, "install", "--no-index", "--no-cache-dir", "--compile", f"--find-links={staging / 'wheels'}"]
    _run(["python3", "-m", "venv", str(target)], "the environment cannot be made")
    if (staging / "requirements.lock").is_file():
        hashed = [*install, "--require-hashes", "-r", str(staging / "requirements.lock")]
        _run(hashed, "the dependencies cannot be installed")
    wheel = str(staging / "wheels" / description["wheel"])
    _run([*install, "--no-deps", wheel], "the package cannot be installed")
    _run([*pip, "check"], "the dependencies do not fit together")
    # As a user without rights: importing runs the package's code. Where there is no launcher, the agents' modules
    # are programs, which are only looked for.
    for verb in ("imports", "finds"):
        if description[verb]:
            command = ["runuser", "-u", "nobody", "--", python, "-I", "-c", _PROBES[verb], *description[verb].split()]
            _run(command, "the installed package does not have what the agents need")


def _run(command: list[str], message: str) -> None:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip()[-1500:]
        raise InstallError(f"{message}: {told}" if told else message)


def prune_releases(layout: Layout, keep: int, needed: Collection[str]) -> list[str]:
    """Remove incomplete releases and all but the ``keep`` newest; ``needed`` ones count and always stay."""
    complete = list_releases(layout)
    kept = [name for name in complete if name in needed]
    kept += [name for name in complete if name not in needed][: max(0, keep - len(kept))]
    removed = []
    for path in layout.releases.glob("*"):
        if path.name not in kept:
            shutil.rmtree(path)
            removed.append(path.name)
    for path in layout.releases.parent.glob(".staging-*"):
        shutil.rmtree(path, ignore_errors=True)
    return removed
