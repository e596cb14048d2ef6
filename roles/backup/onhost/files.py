"""Files, configuration, and what the controller has handed over: they are saved where they lie."""

from __future__ import annotations

from pathlib import Path

from .collected import Collected
from .settings import JobError, Settings

# What is a host's own or made anew: private keys never leave the host, and addresses are not another host's.
EXCLUDED = (
    "/etc/groundwork/*/certificates",
    "/etc/machine-id",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/etc/hostname",
    "/etc/hosts",
)


def collect(settings: Settings) -> Collected:
    """Name the paths. Raises JobError for those that are not there: nothing would be saved in their place."""
    missing = [path for path in settings.paths if not Path(path).exists()]
    if missing:
        hint = "; groundwork backup --now brings it" if settings.kind in ("authority", "secrets") else ""
        raise JobError(f"there is no {', '.join(missing)} on this host{hint}")
    return Collected(list(settings.paths), list(EXCLUDED) if settings.kind == "configuration" else [])
