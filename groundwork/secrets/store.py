"""An environment's secrets at rest: one age file for each, which several recipients may open."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyrage import DecryptError, RecipientError, decrypt, encrypt, x25519

from groundwork.problems import Problem, ProblemError
from groundwork.secrets.declaration import SecretDeclaration, check_name
from groundwork.secrets.generation import generate_value
from groundwork.secrets.keys import create_identity, find_repository, read_identities, write_atomically
from groundwork.secrets.strength import check_strength
from groundwork.secrets.value import SecretValue

SUFFIX = ".age"
PREVIOUS = ".previous.age"
RECIPIENTS = "recipients.txt"


@dataclass(frozen=True)
class StoredSecret:
    """A secret as opened: its value and when that was set."""

    value: SecretValue
    created: datetime


@dataclass(frozen=True)
class Ensured:
    """What ``ensure`` found or made: the values, which it generated, which it cannot, and what is wrong
    (the absent ones included)."""

    values: dict[str, SecretValue]
    created: tuple[str, ...]
    absent: tuple[str, ...]
    problems: tuple[Problem, ...]


class SecretStore:
    """The folder with ``<name>.age``, ``<name>.previous.age`` and ``recipients.txt``, and the key to it.

    ``folder`` may be committed; ``key_file`` must lie outside ``repository`` and be its owner's alone.
    ``repository`` is found from ``folder`` where it is not given. Nothing is read before it is needed.
    """

    def __init__(self, folder: Path, key_file: Path, repository: Path | None = None) -> None:
        self.folder = folder
        self.key_file = key_file
        self.repository = repository or find_repository(folder)
        self._identities: list[Any] | None = None

    def initialise(self) -> str:
        """Make the key and the folder where they are missing, and return the key's public part.

        An existing folder is left as it is: the key has to be among its recipients already, else ProblemError.
        """
        recipients = self.folder / RECIPIENTS
        public = create_identity(self.key_file, self.repository)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not recipients.exists():
                text = f"# Public age keys that the secrets here are encrypted to, one on each line.\n{public}\n"
                write_atomically(recipients, text.encode(), 0o644)
        if public not in self._recipient_lines():
            problem = Problem(
                "the key does not belong to this folder",
                file=str(recipients),
                given=public,
                allowed="ask one of the recipients to add it and to set the secrets anew",
            )
            raise ProblemError([problem])
        return public

    def names(self) -> list[str]:
        """The names of the secrets that have a value."""
        found = (path.name for path in self.folder.glob(f"[a-z]*{SUFFIX}"))
        return sorted(name.removesuffix(SUFFIX) for name in found if not name.endswith(PREVIOUS))

    def has_previous(self, name: str) -> bool:
        """Whether the value before the last change is kept."""
        return (self.folder / f"{name}{PREVIOUS}").exists()

    def read(self, name: str) -> SecretValue:
        """One secret's value; ProblemError as ``read_all`` raises it."""
        return self.read_all([name])[name].value

    def read_all(self, names: Iterable[str] | None = None) -> dict[str, StoredSecret]:
        """Open the named secrets, or all. ProblemError names every one that is missing, damaged, or encrypted
        to another key."""
        wanted = self.names() if names is None else list(names)
        opened: dict[str, StoredSecret] = {}
        problems: list[Problem] = []
        for name in wanted:
            try:
                opened[name] = self._open(name, f"{name}{SUFFIX}")
            except ProblemError as error:
                problems += error.problems
        if problems:
            raise ProblemError(dict.fromkeys(problems))
        return opened

    def write(self, name: str, value: SecretValue) -> None:
        """Set a secret; the value it had is kept, encrypted, as the previous one."""
        if problem := check_name(name):
            raise ProblemError([problem])
        with self._locked():
            self._replace(name, value)

    def restore_previous(self, name: str) -> None:
        """Put the previous value back; what was current becomes the previous. ProblemError where none is kept."""
        with self._locked():
            previous = self._open(name, f"{name}{PREVIOUS}")
            self._replace(name, previous.value)

    def ensure(self, declarations: Iterable[SecretDeclaration]) -> Ensured:
        """Give every declared secret a value: generated where it can be, otherwise a problem that says how to
        set it. Weak values are problems too. ProblemError where the store cannot be opened."""
        declared = {declaration.name: declaration for declaration in declarations}
        problems = [found for name in declared if (found := check_name(name))]
        if problems:
            raise ProblemError(problems)
        with self._locked():
            present = set(self.names())
            created = [name for name, d in declared.items() if name not in present and d.is_generated]
            for name in created:
                self._replace(name, generate_value(declared[name]))
        absent = [name for name in declared if name not in present and name not in created]
        problems = [
            Problem("has no value", key=f"secrets.{name}", allowed=f"set it: groundwork secrets set ENV {name}")
            for name in absent
        ]
        opened = self.read_all(name for name in declared if name not in absent)
        for name, secret in opened.items():
            problems += check_strength(declared[name], secret.value)
        values = {name: secret.value for name, secret in opened.items()}
        return Ensured(values, tuple(created), tuple(absent), tuple(problems))

    def seal(self, content: bytes) -> bytes:
        """Encrypt content to the folder's recipients, as text. ProblemError where their list is missing or wrong."""
        try:
            recipients = [x25519.Recipient.from_str(line) for line in self._recipient_lines()]
        except RecipientError:
            path = self.folder / RECIPIENTS
            problem = Problem("this is no list of age recipients", file=str(path), allowed="age1... on each line")
            raise ProblemError([problem]) from None
        return bytes(encrypt(content, recipients, armored=True))

    def unseal(self, sealed: bytes) -> bytes:
        """Decrypt what ``seal`` gave. Raises ProblemError where the key cannot be used and pyrage's DecryptError
        where the content is damaged or encrypted to another key."""
        if self._identities is None:
            self._identities = read_identities(self.key_file, self.repository)
        return bytes(decrypt(sealed, self._identities))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: two runs that both generate would give hosts different values."""
        try:
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            allowed = "make it with `groundwork secrets init ENV`"
            problem = Problem(f"no secrets here: {error.strerror}", file=str(self.folder), allowed=allowed)
            raise ProblemError([problem]) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _recipient_lines(self) -> list[str]:
        path = self.folder / RECIPIENTS
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            allowed = "make it with `groundwork secrets init ENV`"
            problem = Problem("the list of recipients is missing", file=str(path), allowed=allowed)
            raise ProblemError([problem]) from None
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def _replace(self, name: str, value: SecretValue) -> None:
        """The previous value is in place before the new one is: killed in between, both are the old one."""
        payload = {
            "version": 1,
            "name": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "value": value.reveal(),
        }
        sealed = self.seal(json.dumps(payload).encode())
        current = self.folder / f"{name}{SUFFIX}"
        if current.exists():
            write_atomically(self.folder / f"{name}{PREVIOUS}", current.read_bytes(), 0o600)
        write_atomically(current, sealed, 0o600)

    def _open(self, name: str, file: str) -> StoredSecret:
        if problem := check_name(name):
            raise ProblemError([problem])
        path = self.folder / file
        try:
            payload = json.loads(self.unseal(path.read_bytes()))
            if payload["version"] != 1 or payload["name"] != name:
                raise ValueError("it is another secret's file")
            return StoredSecret(SecretValue(payload["value"]), datetime.fromisoformat(payload["created"]))
        except FileNotFoundError:
            problem = Problem("has no value", file=str(path), key=f"secrets.{name}")
        except (DecryptError, OSError) as error:
            told = f"cannot be decrypted: {error}"
            allowed = f"the file as it was written, and a key it is encrypted to (tried {self.key_file})"
            problem = Problem(told, file=str(path), key=f"secrets.{name}", allowed=allowed)
        except (ValueError, KeyError, TypeError):
            # Not the parser's own words: they quote what was decrypted.
            problem = Problem("is damaged or another secret's file", file=str(path), key=f"secrets.{name}")
        raise ProblemError([problem]) from None
