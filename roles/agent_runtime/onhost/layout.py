"""Where things are on a host."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOCK_SECONDS = 1200


@dataclass(frozen=True)
class Layout:
    """The paths of one platform; ``root`` is ``/`` but in tests."""

    platform: str
    root: Path = Path("/")

    @property
    def configuration(self) -> Path:
        """Instance files, configuration, credentials and the generations of them."""
        return self.root / "etc/groundwork" / self.platform

    @property
    def generations(self) -> Path:
        """Complete sets of units, configuration and instance files, one folder each."""
        return self.configuration / "generations"

    @property
    def live(self) -> Path:
        """Link to the generation that units are made from."""
        return self.configuration / "generation"

    @property
    def proven(self) -> Path:
        """Link to the last generation whose units all became ready."""
        return self.configuration / "proven"

    @property
    def credentials(self) -> Path:
        """Files that systemd hands to the units."""
        return self.configuration / "credentials"

    @property
    def releases(self) -> Path:
        """Installed versions of the runtime package."""
        return self.root / "opt/groundwork" / self.platform / "releases"

    @property
    def current(self) -> Path:
        """Link to the release that units run."""
        return self.releases.parent / "current"

    @property
    def units(self) -> Path:
        """Where the administrator's unit files are."""
        return self.root / "etc/systemd/system"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time change the platform on this host; TimeoutError after 20 minutes."""
        path = self.root / "run" / f"groundwork-{self.platform}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + LOCK_SECONDS
        with path.open("w") as stream:
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"another run works on {self.platform} on this host") from None
                    time.sleep(0.5)
            yield


def read_link(link: Path) -> str:
    """Name of what a link points at, or an empty string where there is no link."""
    return link.readlink().name if link.is_symlink() else ""


def replace_link(link: Path, target: str) -> bool:
    """Point a link elsewhere in one step; tells whether that was needed."""
    if link.is_symlink() and str(link.readlink()) == target:
        return False
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    return True


def write_file(path: Path, content: bytes, mode: int = 0o644, gid: int = -1, mtime_ns: int | None = None) -> None:
    """Write a file aside and rename it into place, owned by root and the given group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        if gid >= 0:
            os.fchown(stream.fileno(), -1, gid)
        os.fchmod(stream.fileno(), mode)
    if mtime_ns is not None:
        os.utime(temporary, ns=(mtime_ns, mtime_ns))
    temporary.replace(path)
