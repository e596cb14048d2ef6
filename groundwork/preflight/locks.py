"""Lock files: what hosts get installed is pinned by digest, and this program runs with what it was tested with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from groundwork.preflight.findings import SITE, Finding, Severity, judge, judge_problems, skip
from groundwork.problems import Problem
from groundwork.site import Site

OWN_LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")


def check_locks(site: Site) -> Iterator[Finding]:
    """The runtime's requirements, then our own."""
    runtime = site.platform.runtime
    if runtime.requirements is None:
        yield skip("locks.runtime", SITE, "the manifest names no runtime.requirements")
    else:
        path = site.path(runtime.requirements)
        problems = list(find_unpinned(path))
        remedy = "write it with: uv pip compile --generate-hashes"
        yield from judge_problems("locks.runtime", problems, f"every requirement of {path.name} has a hash", remedy)
    yield _check_own()


def find_unpinned(path: Path) -> Iterator[Problem]:
    """Yield each requirement of a file that is not pinned to one version with a SHA-256 digest."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        yield Problem(f"cannot be read: {error.strerror}", str(path))
        return
    number = 0
    for entry in re.sub(r"\\\n", lambda _: "\0", text).splitlines():
        number += 1
        line = entry.replace("\0", " ").strip()
        start, number = number, number + entry.count("\0")
        if not line or line.startswith(("#", "--")):
            continue
        if not _PIN.match(line) or "--hash=sha256:" not in line:
            yield Problem("is not pinned with a digest", str(path), start, given=line.split(" ")[0])


def _check_own() -> Finding:
    if not OWN_LOCK.is_file():
        return skip("locks.controller", SITE, "installed as a package; its installer chose the versions")
    differing = []
    for line in OWN_LOCK.read_text("utf-8").splitlines():
        match = _PIN.match(line)
        if not match:
            continue
        try:
            installed = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            continue  # Some requirements are for other Pythons or systems only.
        if installed != match[2]:
            differing.append(f"{match[1]} {installed} (locked: {match[2]})")
    shown = ", ".join(differing) or "installed packages are those of requirements.lock"
    return judge("locks.controller", SITE, not differing, shown, "rm -r .venv, then ./gw version", Severity.WARNING)
