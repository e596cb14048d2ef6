"""The runtime package: the Python code whose modules the agents are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import Count, Duration, Model, ModuleName


class PackageIndexSource(Model):
    """A package taken from the package index that the controller's pip is set up for."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=100)]
    """Distribution name, such as ``agent-runtime``."""
    version: Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.!+_-]*$", max_length=60)]
    """One exact version; ranges would make two runs differ."""


class Package(Model):
    """Where the runtime package comes from: exactly one of the three."""

    wheel: str | None = None
    """Path of a wheel file, from the manifest's folder."""
    directory: str | None = None
    """Path of a source directory with a pyproject.toml, from the manifest's folder."""
    index: PackageIndexSource | None = None
    """A pinned version from the package index."""

    @model_validator(mode="after")
    def _one_source(self) -> Package:
        given = [key for key in ("wheel", "directory", "index") if getattr(self, key) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "groundwork",
                "needs exactly one source",
                {"allowed": "one of wheel, directory, index", "given": ", ".join(given) or "none"},
            )
        return self


class Restart(Model):
    """How systemd restarts an agent that ended: with growing pauses, and not for ever."""

    delay: Duration = 1.0
    """Pause before the first restart."""
    maximum_delay: Duration = 60.0
    """Longest pause."""
    steps: Annotated[int, Field(strict=True, ge=1, le=20)] = 6
    """Steps from the first to the longest pause (systemd 254 and later; constant pauses before)."""
    burst: Count = 20
    """Starts allowed within ``interval`` before systemd gives up and the unit is failed."""
    interval: Duration = 600.0


class Runtime(Model):
    """What is installed on every host that runs agents, and how its processes are supervised."""

    package: Package
    requirements: str | None = None
    """Path of a hashed requirements file (``pip --require-hashes``) with the package's dependencies."""
    launcher: ModuleName | None = None
    """Module run with ``python -m`` for every process; it reads the instance file to learn which agents
    it is. Without it, each agent's own module is run, and groups cannot be packed."""
    keep_releases: Annotated[int, Field(strict=True, ge=1, le=20)] = 3
    """Releases kept on a host, the current one included."""
    ready_timeout: Annotated[Duration, Field(ge=1, le=3600)] = 60.0
    """Time a process may take until it is ready; beyond it the former release is switched back."""
    stop_timeout: Annotated[Duration, Field(ge=1, le=3600)] = 30.0
    """Time a process may take to finish its work after SIGTERM."""
    watchdog: Annotated[Duration, Field(ge=2, le=3600)] = 30.0
    """A process that has not reported itself healthy for this long is killed and started again."""
    restart: Restart = Restart()
