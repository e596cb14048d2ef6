"""One root with its intermediate as files: certificates in the open, keys encrypted like the secrets."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyrage import DecryptError

from groundwork.authority.creation import Issuer, create_intermediate, create_root
from groundwork.authority.revocation import sign_revocations
from groundwork.problems import Problem, ProblemError
from groundwork.secrets.keys import write_atomically
from groundwork.secrets.store import SecretStore

ROOT, INTERMEDIATE = "root", "intermediate"
RESTORE = "the authority's folder as it was: restore it from a copy (docs/certificates.md says what to do without one)"


@dataclass(frozen=True)
class Generation:
    """What everybody may know of a generation."""

    name: str
    root: x509.Certificate
    intermediate: x509.Certificate
    root_list: bytes
    """The root's revocation list (PEM)."""


def create_generation(folder: Path, secrets: SecretStore, environment: str, name: str, now: datetime) -> None:
    """Make a generation's folder with keys, certificates and the root's revocation list; all of it or nothing.

    Raises ProblemError when the secrets' list of recipients cannot be used.
    """
    root = create_root(environment, name, now)
    intermediate = create_intermediate(root, environment, name, now)
    revoked = sign_revocations(root, [], 1, now, root.certificate.not_valid_after_utc)
    stage = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    for label, issuer in ((ROOT, root), (INTERMEDIATE, intermediate)):
        pem = issuer.certificate.public_bytes(serialization.Encoding.PEM)
        write_atomically(stage / f"{label}.pem", pem, 0o644)
        write_atomically(stage / f"{label}.key.age", secrets.seal(_export_key(issuer.key)), 0o600)
    write_atomically(stage / "root-crl.pem", revoked.public_bytes(serialization.Encoding.PEM), 0o644)
    stage.rename(folder)


def read_generation(folder: Path) -> Generation:
    """Read a generation's certificates; no key is needed.

    Raises ProblemError when one is missing, damaged, or the two do not belong together.
    """
    root = _read_certificate(folder / f"{ROOT}.pem")
    intermediate = _read_certificate(folder / f"{INTERMEDIATE}.pem")
    revoked = _read(folder / "root-crl.pem")
    try:
        root.verify_directly_issued_by(root)
        intermediate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        _refuse(folder / f"{INTERMEDIATE}.pem", f"was not issued by the root beside it ({ROOT}.pem)")
    try:
        is_own = x509.load_pem_x509_crl(revoked).is_signature_valid(_elliptic_key(root))
    except (ValueError, TypeError):
        _refuse(folder / "root-crl.pem", "is no revocation list")
    if not is_own:
        _refuse(folder / "root-crl.pem", f"is another authority's than the root beside it ({ROOT}.pem)")
    return Generation(folder.name, root, intermediate, revoked)


def open_issuer(folder: Path, label: str, secrets: SecretStore) -> Issuer:
    """Open the key of ``root`` or ``intermediate``.

    Raises ProblemError when it is missing, damaged, encrypted to another age key, or not the certificate's.
    """
    generation = read_generation(folder)
    path = folder / f"{label}.key.age"
    sealed = _read(path)
    try:
        key = serialization.load_pem_private_key(secrets.unseal(sealed), None)
    except DecryptError as error:
        allowed = f"the file as it was written, and a key it is encrypted to (tried {secrets.key_file})"
        raise ProblemError([Problem(f"cannot be decrypted: {error}", file=str(path), allowed=allowed)]) from None
    except (ValueError, TypeError):
        _refuse(path, "is no private key")
    certificate = generation.root if label == ROOT else generation.intermediate
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        _refuse(path, f"is not the key of {label}.pem")
    return Issuer(certificate, key)


def _elliptic_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("not an elliptic curve key")
    return key


def _export_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_certificate(path: Path) -> x509.Certificate:
    content = _read(path)
    try:
        certificate = x509.load_pem_x509_certificate(content)
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound):
        is_authority = False
    if not is_authority:
        _refuse(path, "is no authority's certificate")
    return certificate


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        _refuse(path, "a part of the certificate authority is missing")
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}")


def _refuse(path: Path, message: str) -> NoReturn:
    raise ProblemError([Problem(message, file=str(path), allowed=RESTORE)])
