"""Carries what lies on the controller to the host that backs it up: encrypted as it lies here, and never the key."""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
import tarfile
from pathlib import Path

from groundwork.authority.store import FOLDER
from groundwork.engine.asking import run_command
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.backups import Job, carried_folder

DIGEST = "carried.sha256"


def list_files(site: Site, kind: str) -> list[tuple[str, Path]]:
    """What an item of this kind holds: name in the set and file here, sorted.

    ``authority`` is the certificate authority's store; ``secrets`` the other secrets, with the inventory, the values of
    its groups and the platform's manifests. Private parts are age files; the key that opens them stays here.
    """
    authority = site.secrets_folder / FOLDER
    found: list[tuple[str, Path]] = []
    if kind == "authority":
        found += [(f"authority/{path.relative_to(authority)}", path) for path in _walk(authority)]
    else:
        secrets = [path for path in _walk(site.secrets_folder) if authority not in path.parents]
        found += [(f"secrets/{path.relative_to(site.secrets_folder)}", path) for path in secrets]
        for folder, pattern in (("inventories", f"{site.environment}.py"), ("group_data", "*.py")):
            found += [(f"{folder}/{path.name}", path) for path in sorted((site.root / folder).glob(pattern))]
        name = site.platform.platform
        found += [(f"platforms/{p.name}", p) for p in sorted((site.root / "platforms").glob(f"{name}*.yaml"))]
    key = site.secrets_key.resolve()
    return sorted((name, path) for name, path in found if path.resolve() != key)


def _walk(folder: Path) -> list[Path]:
    hidden = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return sorted(hidden)


def compute_digest(site: Site, kind: str) -> str:
    """A hash of all that ``list_files`` names, by which a check sees that something newer lies here."""
    digest = hashlib.sha256()
    for name, path in list_files(site, kind):
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def carry(site: Site, job: Job) -> None:
    """Put it on the job's host in place of what was carried before. Raises ProblemError."""
    files = list_files(site, job.kind)
    if not files:
        raise ProblemError([Problem(f"there is no {job.kind} to carry", str(site.secrets_folder), key=job.item)])
    for _, path in files:
        if b"AGE-SECRET-KEY-" in path.read_bytes():
            told = "holds a key that opens the secrets, and is not carried: move it out of the secrets' folder"
            raise ProblemError([Problem(told, str(path), key=job.item)])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, path in files:
            entry = tarfile.TarInfo(name)
            content = path.read_bytes()
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(path.stat().st_mtime)
            archive.addfile(entry, io.BytesIO(content))
        content = f"{compute_digest(site, job.kind)}\n".encode()
        entry = tarfile.TarInfo(DIGEST)
        entry.size, entry.mode = len(content), 0o600
        archive.addfile(entry, io.BytesIO(content))
    folder = carried_folder(site.platform.platform, job.item)
    target, fresh, old = (shlex.quote(folder + end) for end in ("", ".new", ".old"))
    script = (
        f"set -e; umask 077; rm -rf {fresh} {old}; mkdir -p {fresh}; base64 -d | tar -xz -C {fresh}; "
        f"if test -e {target}; then mv {target} {old}; fi; mv {fresh} {target}; rm -rf {old}"
    )
    run_command(site.inventory.host(job.host), script, base64.b64encode(buffer.getvalue()).decode())


def find_newer(site: Site, job: Job) -> str:
    """Why what was carried is not what lies here; empty where it is. Raises UnreachableError, ProblemError."""
    path = shlex.quote(f"{carried_folder(site.platform.platform, job.item)}/{DIGEST}")
    there = run_command(site.inventory.host(job.host), f"cat {path} 2>/dev/null || true").strip()
    if there == compute_digest(site, job.kind):
        return ""
    told = "has changed here since it was carried" if there else "was never carried"
    return f"the {job.kind} {told}: groundwork backup {site.environment} --now --item {job.item}"
