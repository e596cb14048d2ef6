"""Which images a host's groups need, by names that change when their content does."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from groundwork.problems import Problem, ProblemError
from roles.agent_runtime.containers import ContainerPlan
from roles.agent_runtime.plan import HostPlan
from roles.agent_runtime.wheelhouse import Wheelhouse

BASE_PACKAGES = ("ca-certificates", "python3", "tzdata")
"""What the runtime's image has besides the essential packages of Debian; a release brings its own environment."""
BASE = "groundwork/base"
RECIPE_VERSION = 1
"""To be raised when onhost/images.py makes another image of the same packages."""


@dataclass(frozen=True)
class Image:
    """One image: the reference that compose projects use, and what it is made from."""

    reference: str
    container: ContainerPlan
    archive: Path | None = None
    """The folder to build from, packed."""
    key: Path | None = None
    """The key that must have signed it."""
    accepted: str = ""
    """Of a pulled image: the name it gets when it was accepted."""


def base_tag(debian: str) -> str:
    """Name of the base image for a release of Debian (``12``, ``13``)."""
    recipe = hashlib.sha256(f"{RECIPE_VERSION} {' '.join(BASE_PACKAGES)}".encode()).hexdigest()
    return f"{BASE}:{debian}-{recipe[:8]}"


def list_images(root: Path, folder: Path, plan: HostPlan, wheelhouse: Wheelhouse, debian: str) -> dict[str, Image]:
    """The image of each group that runs as containers. ``folder`` is where the manifest's paths start.

    Raises ProblemError for a folder without a Dockerfile, and for a key that cannot be read.
    """
    found = {}
    for group in plan.groups:
        container = group.container
        if container is None:
            continue
        key = f"groups.{group.name}.container"
        if container.source == "runtime":
            tag = wheelhouse.release.replace("+", "-")
            reference = f"{container.repository}:{tag}-{base_tag(debian).rpartition('-')[2]}"
            found[group.name] = Image(reference, container)
        elif container.source == "build":
            archive = _pack_folder(root, folder / container.build, f"{key}.build")
            reference = f"{container.repository}:{archive.stem[:12]}"
            found[group.name] = Image(reference, container, archive=archive)
        else:
            file = folder / container.signature_key if container.signature_key else None
            found[group.name] = Image(container.image, container, key=file, accepted=_accept(plan, container, file))
    return found


def key_path(platform: str, image: Image) -> str:
    """Where the key of a signed image lies on the host; empty for an image without one."""
    return f"/etc/groundwork/{platform}/image-{image.accepted.rpartition('-')[2]}.pub" if image.key else ""


def _accept(plan: HostPlan, container: ContainerPlan, key: Path | None) -> str:
    digest = container.image.rpartition("@sha256:")[2][:12]
    name = hashlib.sha256(container.image.encode()).hexdigest()[:8]
    told = hashlib.sha256(key.read_bytes()).hexdigest()[:8] if key else "unsigned"
    return f"groundwork/accepted-{plan.platform}:{digest}-{name}-{told}"


def _pack_folder(root: Path, folder: Path, key: str) -> Path:
    """An archive of a build folder in ``<root>/.cache/images``, named by the digest of its content."""
    if not (folder / "Dockerfile").is_file():
        raise ProblemError([Problem("there is no Dockerfile", key=key, given=str(folder))])
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            entry.size = path.stat().st_size
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            with path.open("rb") as stream:
                tar.addfile(entry, stream)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    archive = root / ".cache" / "images" / f"{digest}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    if not archive.is_file():
        new = archive.with_suffix(f".{os.getpid()}")
        new.write_bytes(gzip.compress(content.getvalue(), mtime=0))
        new.replace(archive)
    return archive
