"""``artifacts.lock``: vendors' repositories with their keys' fingerprints, and release archives with their SHA-256."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.errors import translate_error
from groundwork.manifest.source import read
from groundwork.manifest.values import Model, Name
from groundwork.problems import Problem, ProblemError

FILE = "artifacts.lock"
ARCHITECTURES = ("amd64", "arm64")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")

# One word, so that it can stand in apt's files; the braces are for {release}, {version} and {architecture}.
Url = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9][A-Za-z0-9.:-]*(/[A-Za-z0-9._~%+/{}-]*)?$")]
Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$", max_length=100)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Architecture = Literal["amd64", "arm64"]


class Repository(Model):
    """A vendor's apt repository: where it is, whose signature counts, and which of its packages may be taken."""

    uri: Url
    suite: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9{][A-Za-z0-9{}._-]*/?$|^/$")] = "{release}"
    """``{release}`` is the host's Debian release; one that ends in ``/`` is a flat repository's path."""
    components: list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]] = ["main"]
    key: Url
    """Where the vendor offers its public key."""
    fingerprints: Annotated[list[str], Field(min_length=1)]
    """Fingerprints of the primary keys that may sign; a key file with any other key in it is refused."""
    packages: Annotated[list[Package], Field(min_length=1)]
    """The only packages that come from here."""

    @field_validator("fingerprints", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        """Fingerprints are usually printed in groups of four."""
        if not isinstance(value, list):
            return value
        plain = [str(one).replace(" ", "").upper() for one in value]
        for one in plain:
            if not _FINGERPRINT.fullmatch(one):
                allowed = "40 or 64 hexadecimal digits: the whole fingerprint, no short key id"
                raise PydanticCustomError("groundwork", "is no fingerprint", {"given": one, "allowed": allowed})
        return plain

    @property
    def is_flat(self) -> bool:
        """Whether it has no components (sources.list(5): a suite that ends in ``/``)."""
        return self.suite.endswith("/")

    def suite_for(self, release: str) -> str:
        """The suite for hosts of one Debian release."""
        return self.suite.replace("{release}", release)

    def index_path(self, release: str) -> str:
        """Path of the folder with ``InRelease``, from the repository's root; empty or ending in ``/``."""
        suite = self.suite_for(release)
        return suite.lstrip("/") if self.is_flat else f"dists/{suite}/"


class Archive(Model):
    """A release archive of a vendor: one version, and what its file must be for each architecture."""

    version: Annotated[str, StringConstraints(pattern=r"^[0-9][A-Za-z0-9.+_-]*$", max_length=40)]
    url: Url
    """``{version}`` and ``{architecture}`` stand for what they say."""
    sha256: Annotated[dict[Architecture, Sha256], Field(min_length=1)]

    @field_validator("url")
    @classmethod
    def _kind(cls, value: str) -> str:
        if not value.endswith((".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")):
            allowed = ".tar.gz, .tgz, .tar.xz, .tar.bz2, .zip"
            raise PydanticCustomError("groundwork", "is no archive", {"given": value, "allowed": allowed})
        return value

    def url_for(self, architecture: str) -> str:
        """Where the file of one architecture is."""
        return self.url.replace("{version}", self.version).replace("{architecture}", architecture)

    def file_for(self, architecture: str) -> str:
        """The file's name."""
        return self.url_for(architecture).rpartition("/")[2]


class ArtifactLock(Model):
    """Everything that may come from vendors."""

    version: Literal[1] = 1
    repositories: dict[Name, Repository] = {}
    archives: dict[Name, Archive] = {}

    def repository_of(self, package: str) -> tuple[str, Repository] | None:
        """The repository that a package comes from, with its name; None where none is declared for it."""
        return next(((name, one) for name, one in self.repositories.items() if package in one.packages), None)


def load_lock(root: Path) -> ArtifactLock:
    """Read the project's ``artifacts.lock``, or Groundwork's own where the project has none.

    Raises ProblemError with every mistake in it, a package that two repositories claim included.
    """
    path = root / FILE
    if not path.is_file():
        path = Path(__file__).resolve().parents[2] / FILE
    source = read(path, name=FILE)
    try:
        lock = ArtifactLock.model_validate(source.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise ProblemError([translate_error(dict(item), source, ArtifactLock) for item in errors]) from None
    problems: list[Problem] = []
    owners: dict[str, str] = {}
    for name, repository in lock.repositories.items():
        for package in repository.packages:
            other = owners.setdefault(package, name)
            if other != name:
                message = f"comes from {other} already; a package has one source"
                problems.append(Problem(message, key=f"repositories.{name}.packages", given=package))
    if problems:
        raise ProblemError([source.place(problem) for problem in problems])
    return lock
