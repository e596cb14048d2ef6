"""Collects the runtime package and its dependencies on the controller, so that hosts need no package index."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError
from roles.agent_runtime.sources import Sources, Target, compute_source_digest, copy_sources, find_sources, name_release
from roles.agent_runtime.wheels import WheelDescription, inspect_wheel, normalise_name

ARCHIVE = "release.tar"
DESCRIPTION = "wheelhouse.json"
PIP_SECONDS = 900
# Newest first; glibc 2.36 is Debian 12's, and wheels for an older one run on every newer one (PEP 600).
_GLIBC_MINORS = range(36, 16, -1)
_EPOCH = "315532800"  # 1980-01-01, the oldest time a zip can hold
_locks: dict[str, threading.Lock] = {}


@dataclass(frozen=True)
class Wheelhouse:
    """A release ready to be sent: its name, the archive, and the archive's SHA-256."""

    release: str
    archive: Path
    digest: str


def prepare_wheelhouse(root: Path, platform: Platform, folder: Path, target: Target) -> Wheelhouse:
    """Return the wheelhouse for one kind of host; made once, then read from ``<root>/.cache/wheelhouse``.

    ``folder`` is what the manifest's paths start from. Safe to be called at once by greenlets and by other
    processes. Raises ProblemError when the package cannot be built, is corrupt, or lacks a dependency.
    """
    sources = find_sources(platform.runtime, folder)
    modules = _list_modules(platform)
    key = compute_source_digest(sources, target)
    # What the host tries is part of the archive, but a change of the agents does not make another release.
    digest = hashlib.sha256(f"{key} {json.dumps(modules, sort_keys=True)}".encode()).hexdigest()
    cache = root / ".cache" / "wheelhouse"
    done = cache / digest[:32]
    with _locked(cache, digest[:32]):
        if not (done / DESCRIPTION).is_file():
            with tempfile.TemporaryDirectory(prefix=f".{digest[:8]}-", dir=cache) as scratch:
                _fill(Path(scratch), sources, target, key, modules)
                shutil.rmtree(done, ignore_errors=True)
                Path(scratch).rename(done)
                done.chmod(0o755)
                Path(scratch).mkdir()  # for TemporaryDirectory to remove
    described = json.loads((done / DESCRIPTION).read_text("utf-8"))
    return Wheelhouse(described["release"], done / ARCHIVE, described["digest"])


def _list_modules(platform: Platform) -> dict[str, str]:
    """Modules that a host imports (the launcher loads them) or only looks for (they are run), before the switch."""
    modules = {
        agent.module or group.module or "" for group in platform.groups.values() for agent in group.agents.values()
    }
    names = " ".join(sorted(modules - {""}))
    launcher = platform.runtime.launcher
    return {"imports": f"{launcher} {names}".strip(), "finds": ""} if launcher else {"imports": "", "finds": names}


@contextmanager
def _locked(cache: Path, name: str) -> Iterator[None]:
    """Exclude other greenlets of this process, then other processes; waiting lets other greenlets run."""
    cache.mkdir(parents=True, exist_ok=True)
    with _locks.setdefault(name, threading.Lock()), (cache / f".{name}.lock").open("w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        yield


def _fill(scratch: Path, sources: Sources, target: Target, key: str, modules: dict[str, str]) -> None:
    wheels = scratch / "wheels"
    wheels.mkdir()
    lock = sources.requirements.read_text("utf-8") if sources.requirements else ""
    locked_names = list_locked_names(lock)
    wheel = _obtain_wheel(scratch, wheels, sources, target)
    description = inspect_wheel(wheel)
    _check_dependencies(description, locked_names, sources.requirements)
    if locked_names:
        assert sources.requirements is not None
        _download(wheels, target, ["--require-hashes", "-r", str(sources.requirements)])
    release = name_release(description.version, key)
    content = {"release": release, "wheel": wheel.name, **modules}
    archive = scratch / ARCHIVE
    _pack(archive, wheels, lock if locked_names else "", content)
    shutil.rmtree(wheels)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (scratch / DESCRIPTION).write_text(json.dumps({"release": release, "digest": digest}), "utf-8")


def list_locked_names(lock: str) -> frozenset[str]:
    """Normalised names of the distributions that a requirements file pins."""
    found = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*==", lock, re.MULTILINE)
    return frozenset(normalise_name(name) for name in found)


def _check_dependencies(wheel: WheelDescription, locked: frozenset[str], lock: Path | None) -> None:
    """Raise ProblemError when the lock lacks what the wheel always needs; the host's pip checks the rest."""
    needed = [line for line in wheel.requirements if ";" not in line]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in needed]
    missing = [name for name in names if normalise_name(name) not in locked]
    if missing:
        allowed = "a file by pip-compile --generate-hashes, which names all dependencies with their hashes"
        given = lock.name if lock else ""
        message = f"{wheel.name} {wheel.version} needs {', '.join(missing)}, which no requirements file pins"
        raise ProblemError([Problem(message, key="runtime.requirements", given=given, allowed=allowed)])


def _obtain_wheel(scratch: Path, wheels: Path, sources: Sources, target: Target) -> Path:
    """Put the runtime package's own wheel among the wheels and return it."""
    if sources.wheel:
        inspect_wheel(sources.wheel)
        return Path(shutil.copy2(sources.wheel, wheels))
    built = scratch / "built"
    built.mkdir()
    if sources.directory:
        copy_sources(sources.directory, scratch / "source")
        arguments = ["wheel", "--no-deps", "--wheel-dir", str(built), str(scratch / "source")]
        _run_pip(arguments, f"{sources.directory.name} cannot be built")
        shutil.rmtree(scratch / "source")
    elif sources.index:
        _download(built, target, ["--no-deps", "==".join(sources.index)])
    found = list(built.glob("*.whl"))
    if len(found) != 1:
        raise ProblemError([Problem(f"{len(found)} wheels came out of the package", key="runtime.package")])
    wheel = Path(shutil.move(found[0], wheels))
    shutil.rmtree(built)
    return wheel


def _download(folder: Path, target: Target, what: Sequence[str]) -> None:
    platforms = [f"manylinux_2_{minor}_{target.machine}" for minor in _GLIBC_MINORS]
    platforms += [f"manylinux2014_{target.machine}", f"linux_{target.machine}"]
    abi = f"cp{target.python.replace('.', '')}"
    arguments = ["download", "--dest", str(folder), "--only-binary=:all:", "--implementation", "cp"]
    arguments += ["--python-version", target.python, "--abi", abi, "--abi", "abi3", "--abi", "none"]
    arguments += [part for platform in platforms for part in ("--platform", platform)]
    message = f"the dependencies cannot be downloaded for Python {target.python} on {target.machine}"
    _run_pip([*arguments, *what], message)


def _run_pip(arguments: Sequence[str], message: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", *arguments]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH, "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PIP_SECONDS)
        failed, told = done.returncode != 0, done.stderr or done.stdout
    except subprocess.TimeoutExpired:
        failed, told = True, f"no end within {PIP_SECONDS} s"
    if failed:
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        errors = [line for line in lines if re.search(r"error", line, re.IGNORECASE)] or lines[-3:]
        reason = " / ".join(re.sub(r"https?://\S+", "(the package index)", line) for line in errors[:3])[:600]
        raise ProblemError([Problem(f"{message}: {reason or 'pip says nothing'}", key="runtime.package")])


def _pack(archive: Path, wheels: Path, lock: str, content: dict[str, str]) -> None:
    """One tar with the same bytes whenever the files are the same."""
    files = {f"wheels/{path.name}": path.read_bytes() for path in wheels.iterdir()}
    files["release.json"] = json.dumps(content, sort_keys=True).encode()
    if lock:
        files["requirements.lock"] = lock.encode()
    with tarfile.open(archive, "w") as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(files[name]), 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
