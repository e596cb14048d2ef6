"""The authority of one environment, in a folder beside its secrets."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from groundwork.authority import generations, records
from groundwork.authority.creation import Issuer
from groundwork.authority.generations import Generation
from groundwork.authority.leaves import sign_leaf
from groundwork.authority.requests import check_request
from groundwork.authority.revocation import LIST_LIFE, is_due, sign_revocations
from groundwork.authority.state import AuthorityState, read_state, write_state
from groundwork.problems import Problem, ProblemError
from groundwork.secrets.keys import write_atomically
from groundwork.secrets.store import SecretStore
from groundwork.topology.model import Identity

FOLDER = "authority"
"""Name of the authority's folder within the secrets'."""
LEAF_LIST = "crl.pem"


@dataclass(frozen=True)
class Signed:
    """A fresh certificate: the chain as it goes to the host (leaf, then intermediate), and its serial number."""

    identity: Identity
    chain: bytes
    serial: str


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class AuthorityStore:
    """``authority.json``, a folder for each generation, the records. Nothing is read before it is needed.

    All methods raise ProblemError when a part is missing, damaged, or cannot be decrypted.
    """

    def __init__(self, folder: Path, secrets: SecretStore, environment: str) -> None:
        self.folder = folder
        self.secrets = secrets
        self.environment = environment
        self._issuers: dict[tuple[str, str], Issuer] = {}
        self._depth = 0

    def initialise(self, now: datetime | None = None) -> bool:
        """Make the first generation where there is no authority; say whether it was made.

        An authority that has lost parts is refused, never replaced: hosts would stop trusting each other.
        """
        now = now or datetime.now(UTC)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.locked():
            if read_state(self.folder) is not None:
                self.check()
                return False
            left = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
            # A first generation without a state is what a killed run leaves; anything more was in use.
            if left not in ([], ["1"]):
                raise ProblemError([self._incomplete()])
            shutil.rmtree(self.folder / "1", ignore_errors=True)
            self._create("1", now)
            write_state(self.folder, AuthorityState("1", ("1",)))
            return True

    @property
    def state(self) -> AuthorityState:
        """Who issues and whom hosts trust, as on disk at this moment."""
        found = read_state(self.folder)
        if found is None:
            if self.folder.is_dir() and any(self.folder.glob("*/root.pem")):
                raise ProblemError([self._incomplete()])
            told = "this environment has no certificate authority yet"
            allowed = f"groundwork secrets init {self.environment}"
            raise ProblemError([Problem(told, file=str(self.folder), allowed=allowed)])
        return found

    def check(self) -> None:
        """Read everything that a run will need, the issuing key included."""
        for name in self.state.trusted:
            self.generation(name)
        self.issuer()
        records.read_issued(self.folder)
        records.read_revoked(self.folder)

    def generation(self, name: str) -> Generation:
        """The certificates of one generation."""
        return generations.read_generation(self.folder / name)

    def issuer(self, name: str | None = None) -> Issuer:
        """The intermediate that signs leaves, with its key; of the issuing generation unless another is named."""
        return self._open(name or self.state.issuer, generations.INTERMEDIATE)

    def bundle(self) -> bytes:
        """The trusted roots (PEM)."""
        return b"".join(self.generation(name).root.public_bytes(Encoding.PEM) for name in self.state.trusted)

    def intermediates(self) -> dict[str, x509.Certificate]:
        """The intermediates of the trusted generations, by their names."""
        return {name: self.generation(name).intermediate for name in self.state.trusted}

    def revocation_lists(self, now: datetime | None = None, refresh: bool = True) -> bytes:
        """The revocation lists of every trusted root and intermediate (PEM).

        With ``refresh``, lists that are absent or past half their life are signed anew; without (a plan), they
        are returned as they are.
        """
        now = now or datetime.now(UTC)
        parts: list[bytes] = []
        for name in self.state.trusted:
            path = self.folder / name / LEAF_LIST
            if refresh and self._list_is_due(path, now):
                with self.locked():
                    self._sign_list(name, now)
            parts += [self.generation(name).root_list, path.read_bytes() if path.exists() else b""]
        return b"".join(parts)

    def sign(self, requests: Sequence[tuple[Identity, bytes]], now: datetime | None = None) -> list[Signed]:
        """Check what a host asks for and sign it; all of it or, where one is refused, none.

        The caller looks the identities up by the host that the requests came from.
        """
        now = now or datetime.now(UTC)
        problems: list[Problem] = []
        checked: list[tuple[Identity, x509.CertificateSigningRequest]] = []
        for identity, pem in requests:
            try:
                checked.append((identity, check_request(pem, identity)))
            except ProblemError as error:
                problems += error.problems
        if problems:
            raise ProblemError(problems)
        with self.locked():
            name = self.state.issuer
            issuer = self.issuer(name)
            above = issuer.certificate.public_bytes(Encoding.PEM)
            leaves = [(identity, sign_leaf(issuer, identity, r.public_key(), now)) for identity, r in checked]
            described = [records.describe_leaf(leaf, identity, name, now) for identity, leaf in leaves]
            records.append_issued(self.folder, described)
        return [
            Signed(identity, leaf.public_bytes(Encoding.PEM) + above, records.format_serial(leaf.serial_number))
            for identity, leaf in leaves
        ]

    def revoke(self, serials: Iterable[str], now: datetime | None = None) -> list[records.Issued]:
        """Put certificates on the revocation list; hosts get it with the next apply."""
        now = now or datetime.now(UTC)
        with self.locked():
            known = {record.serial: record for record in records.read_issued(self.folder)}
            wanted = [serial.upper().replace(":", "") for serial in serials]
            if foreign := [serial for serial in wanted if serial not in known]:
                told = [Problem("no certificate with this serial number was issued", given=each) for each in foreign]
                raise ProblemError(told)
            chosen = [known[serial] for serial in wanted]
            old = records.read_revoked(self.folder)
            there = {one.serial for one in old}
            time = now.isoformat(timespec="seconds")
            fresh = [records.Revoked(c.serial, c.generation, time, c.expires) for c in chosen if c.serial not in there]
            records.write_revoked(self.folder, [*old, *fresh], now)
            for name in {one.generation for one in fresh} & set(self.state.trusted):
                self._sign_list(name, now)
        return chosen

    def create_generation(self, name: str, now: datetime) -> None:
        """Make another generation that is neither trusted nor issuing yet."""
        with self.locked():
            if not (self.folder / name).exists():
                self._create(name, now)

    def set_state(self, state: AuthorityState) -> None:
        """Change who issues and whom hosts trust; certificates already issued stay as they are."""
        with self.locked():
            for name in state.trusted:
                self.generation(name)
            write_state(self.folder, state)

    def remove_untrusted(self) -> None:
        """Remove every generation that hosts are not to trust, keys and all."""
        with self.locked():
            trusted = self.state.trusted
            for path in self.folder.iterdir():
                if path.name.lstrip(".").removesuffix(".new").isdigit() and path.name not in trusted:
                    shutil.rmtree(path)
            self._issuers.clear()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time, also between processes; a second entry by the same thread is no harm."""
        if self._depth:
            yield
            return
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # A wait in the kernel would also stop the greenlet of this process that holds the lock.
            while not _try_lock(handle):
                time.sleep(0.02)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
        finally:
            os.close(handle)

    def _open(self, name: str, label: str) -> Issuer:
        if (name, label) not in self._issuers:
            self._issuers[name, label] = generations.open_issuer(self.folder / name, label, self.secrets)
        return self._issuers[name, label]

    def _create(self, name: str, now: datetime) -> None:
        folder = self.folder / name
        generations.create_generation(folder, self.secrets, self.environment, name, now)
        self._sign_list(name, now)

    def _list_is_due(self, path: Path, now: datetime) -> bool:
        try:
            return is_due(x509.load_pem_x509_crl(path.read_bytes()), now)
        except (OSError, ValueError):
            return True

    def _sign_list(self, name: str, now: datetime) -> None:
        issuer = self.issuer(name)
        revoked = [one for one in records.read_revoked(self.folder) if one.generation == name]
        entries = [(int(one.serial, 16), datetime.fromisoformat(one.time)) for one in revoked]
        # Seconds since 1970 grow from list to list, with nothing to remember.
        listed = sign_revocations(issuer, entries, int(now.timestamp()), now, now + LIST_LIFE)
        write_atomically(self.folder / name / LEAF_LIST, listed.public_bytes(Encoding.PEM), 0o644)

    def _incomplete(self) -> Problem:
        told = "the certificate authority has lost authority.json"
        return Problem(told, file=str(self.folder), allowed=generations.RESTORE)
