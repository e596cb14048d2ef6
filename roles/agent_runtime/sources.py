"""What a release is made of, and the name that follows from it. Reads files, contacts nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from groundwork.manifest.runtime import Runtime
from groundwork.problems import Problem, ProblemError

# Left by builds, tools and editors; none of it gets into a wheel.
_IGNORED = frozenset({"build", "dist", "__pycache__", "node_modules"})
KEY = "runtime.package"


@dataclass(frozen=True)
class Target:
    """What a release is installed for: Python's minor version (``3.13``) and the machine (``x86_64``)."""

    python: str
    machine: str


@dataclass(frozen=True)
class Sources:
    """Where the package and its dependencies come from, as absolute paths; exactly one of the first three."""

    wheel: Path | None
    directory: Path | None
    index: tuple[str, str] | None
    requirements: Path | None


def find_sources(runtime: Runtime, folder: Path) -> Sources:
    """Resolve the manifest's paths against its folder. Raises ProblemError for what is not there."""
    package = runtime.package
    problems = []

    def locate(given: str | None, key: str, kind: str) -> Path | None:
        if given is None:
            return None
        path = (folder / given).resolve()
        if not (path.is_dir() if kind == "folder" else path.is_file()):
            problems.append(Problem(f"there is no such {kind}", key=key, given=given))
        return path

    wheel = locate(package.wheel, f"{KEY}.wheel", "file")
    directory = locate(package.directory, f"{KEY}.directory", "folder")
    if directory is not None and directory.is_dir() and not (directory / "pyproject.toml").is_file():
        problems.append(Problem("has no pyproject.toml", key=f"{KEY}.directory", given=str(package.directory)))
    requirements = locate(runtime.requirements, "runtime.requirements", "file")
    if problems:
        raise ProblemError(problems)
    index = (package.index.name, package.index.version) if package.index else None
    return Sources(wheel, directory, index, requirements)


def list_source_files(directory: Path) -> Iterator[Path]:
    """The files of a source directory that can matter to its wheel, in a fixed order."""
    for folder, names, files in os.walk(directory):
        names[:] = sorted(
            n for n in names if n not in _IGNORED and not n.startswith(".") and not n.endswith(".egg-info")
        )
        for name in sorted(files):
            path = Path(folder) / name
            if not name.endswith((".pyc", "~", ".swp")) and path.is_file():
                yield path


def copy_sources(directory: Path, target: Path) -> None:
    """Copy what ``list_source_files`` lists, so that a build leaves nothing beside the sources."""
    for path in list_source_files(directory):
        copy = target / path.relative_to(directory)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def compute_source_digest(sources: Sources, target: Target) -> str:
    """SHA-256 over the package, the lock and the target: two equal ones give the same release.

    The target belongs to it because an environment is bound to its Python: after an upgrade of the host's Debian
    the release is built anew.
    """
    digest = hashlib.sha256()

    def add(name: str, content: bytes) -> None:
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)

    add("target", f"{target.python} {target.machine}".encode())
    if sources.wheel:
        add(sources.wheel.name, sources.wheel.read_bytes())
    if sources.directory:
        for path in list_source_files(sources.directory):
            executable = b"x" if os.access(path, os.X_OK) else b"-"
            add(str(path.relative_to(sources.directory)), executable + path.read_bytes())
    if sources.index:
        add("index", "==".join(sources.index).encode())
    if sources.requirements:
        add("requirements", sources.requirements.read_bytes())
    return digest.hexdigest()


def name_release(version: str, digest: str) -> str:
    """``<version>+<8 hexadecimal digits>``."""
    return f"{version}+{digest[:8]}"
