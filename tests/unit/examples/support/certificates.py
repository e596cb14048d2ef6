"""A small authority for the tests: a root, an intermediate, and certificates with both uses, as role pki makes them."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _sign(name: str, issuer: Pair | None, is_authority: bool, names: list[x509.GeneralName], days: float) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - datetime.timedelta(days=2))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:
        # By key identifier alone: two roots of the same name are told apart by it.
        identifier = issuer[0].extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        known = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        builder = builder.add_extension(known, critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if not is_authority:
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    """Issues certificates into `folder/<name>/current/`, a link that is swapped in one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.bundle = folder / "bundle.pem"
        self.roots: list[x509.Certificate] = []
        self.renew_root()
        self.write_bundle()

    def renew_root(self) -> None:
        root = _sign("root", None, True, [], 3650)
        self.roots.append(root[0])
        self._intermediate = _sign("intermediate", root, True, [], 365)

    def write_bundle(self, *roots: x509.Certificate) -> None:
        fresh = self.bundle.with_suffix(".new")
        fresh.write_bytes(b"".join(_pem(root) for root in roots or self.roots))
        fresh.replace(self.bundle)

    def issue(self, account: str, address: str = "127.0.0.1", uri: str = "", days: float = 30) -> Path:
        """Return the folder of a fresh certificate, under the same name as any before."""
        names: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address(address)),
            x509.UniformResourceIdentifier(uri or f"spiffe://lab/ymera/{account}"),
        ]
        certificate, key = _sign(account, self._intermediate, False, names, days)
        home = self.folder / account
        fresh = home / str(certificate.serial_number)
        fresh.mkdir(parents=True)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (fresh / "key.pem").write_bytes(private)
        (fresh / "key.pem").chmod(0o600)
        (fresh / "certificate.pem").write_bytes(_pem(certificate) + _pem(self._intermediate[0]))
        link = home / "next"
        link.symlink_to(fresh)
        link.replace(home / "current")
        return home / "current"

    def files(self, account: str) -> dict[str, str]:
        """What the instance file says under `tls`."""
        current = self.folder / account / "current"
        paths = {"certificate": current / "certificate.pem", "key": current / "key.pem", "authority": self.bundle}
        return {key: str(path) for key, path in paths.items()}

    def give_to_user(self, account: str, user: str) -> None:
        """Let another system user own the files: PostgreSQL refuses a key of somebody else, and to run as root."""
        for path in [self.folder, *self.folder.rglob("*")]:
            if not path.is_symlink() and (path == self.folder or account in path.parts):
                shutil.chown(path, user)
