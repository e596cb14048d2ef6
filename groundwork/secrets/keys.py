"""The age identity that opens an environment's secrets: a file outside the repository, for its owner only."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyrage import IdentityError, x25519

from groundwork.problems import Problem, ProblemError


def find_repository(start: Path) -> Path | None:
    """The repository that a folder lies in (it need not exist yet), or None."""
    start = start.resolve()
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Write a file so that it is either the old or the new one, whole, at any moment; never wider than
    ``mode`` (permission bits)."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def refuse_place(path: Path, repository: Path | None) -> None:
    """Raise ProblemError when the key would lie inside the repository, where it could be committed."""
    if repository is not None and path.resolve().is_relative_to(repository.resolve()):
        raise ProblemError(
            [
                Problem(
                    "the key that opens the secrets lies inside the repository",
                    file=str(path),
                    allowed="a place outside it, for example below ~/.config/groundwork/keys",
                )
            ]
        )


def create_identity(path: Path, repository: Path | None) -> str:
    """Make the key file (0600, its directory 0700) unless it exists; return its public key.

    Raises ProblemError as ``read_identities`` does.
    """
    refuse_place(path, repository)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = x25519.Identity.generate()
        created = datetime.now(UTC).isoformat(timespec="seconds")
        text = f"# created: {created}\n# public key: {identity.to_public()}\n{identity}\n"
        write_atomically(path, text.encode(), 0o600)
    return str(read_identities(path, repository)[0].to_public())


def read_identities(path: Path, repository: Path | None) -> list[Any]:
    """The age identities in a key file.

    Raises ProblemError when it is missing, inside the repository, readable by others, or no key file.
    """
    refuse_place(path, repository)
    try:
        status = path.stat()
        lines = path.read_text(encoding="ascii").split("\n")
    except FileNotFoundError:
        problem = Problem(
            "the key that opens the secrets is missing",
            file=str(path),
            allowed="make it with `groundwork secrets init ENV`, or copy it from whoever has it",
        )
        raise ProblemError([problem]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError([Problem(f"the key cannot be read: {error}", file=str(path))]) from None
    if status.st_mode & 0o077:
        problem = Problem(
            "others can read the key that opens the secrets",
            file=str(path),
            given=f"mode {status.st_mode & 0o777:04o}",
            allowed="0600 (chmod 600)",
        )
        raise ProblemError([problem])
    try:
        found = [x25519.Identity.from_str(line.strip()) for line in lines if line.strip() and line[0] != "#"]
    except IdentityError:
        found = []
    if not found:
        raise ProblemError([Problem("this is no age key file", file=str(path), allowed="AGE-SECRET-KEY-1...")])
    return found
