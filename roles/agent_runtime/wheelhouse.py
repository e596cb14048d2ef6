"""Collects the runtime package and its dependencies on the controller, so that hosts need no package index."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groundwork.artifacts.wheels import download_wheels, locked, run_pip
from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError
from roles.agent_runtime.sources import (
    KEY,
    Sources,
    Target,
    compute_source_digest,
    copy_sources,
    find_sources,
    name_release,
)
from roles.agent_runtime.wheels import WheelDescription, inspect_wheel, normalise_name

ARCHIVE = "release.tar"
DESCRIPTION = "wheelhouse.json"


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
    with locked(cache, digest[:32]):
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
        run_pip(arguments, f"{sources.directory.name} cannot be built", KEY)
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
    download_wheels(folder, target.python, target.machine, what, KEY)


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
