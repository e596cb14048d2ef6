"""Makes the two certificates above the leaves: a root, which signs intermediates only, and an intermediate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT_LIFE = timedelta(days=3652)
"""Ten years; HashiCorp's advice for a root is 2 to 10 (Vault, "PKI considerations")."""
INTERMEDIATE_LIFE = timedelta(days=730)
"""Two years; the same source names 6 months to 2 years."""
BACKDATE = timedelta(minutes=5)
"""How far a host's clock may be behind for a fresh certificate to be valid there."""


@dataclass(frozen=True)
class Issuer:
    """A certificate that may sign others, with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def create_root(environment: str, generation: str, now: datetime) -> Issuer:
    """Make a root with a fresh key (P-256), valid for ``ROOT_LIFE`` from ``now`` (with time zone)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(environment, "root", generation)
    builder = _builder(name, name, key, now, now + ROOT_LIFE, path_length=1)
    return Issuer(builder.sign(key, hashes.SHA256()), key)


def create_intermediate(root: Issuer, environment: str, generation: str, now: datetime) -> Issuer:
    """Make an intermediate that can sign leaves only, valid for ``INTERMEDIATE_LIFE`` from ``now``."""
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + INTERMEDIATE_LIFE, root.certificate.not_valid_after_utc)
    name = _name(environment, "intermediate", generation)
    builder = _builder(name, root.certificate.subject, key, now, end, path_length=0)
    builder = builder.add_extension(identify_issuer(root.certificate), critical=False)
    return Issuer(builder.sign(root.key, hashes.SHA256()), key)


def identify_issuer(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The authority key identifier of what ``issuer`` signs: its key alone, since issuer and serial in it break
    cross-signing (Vault, "rotation primitives")."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _name(environment: str, kind: str, generation: str) -> x509.Name:
    # A common name has at most 64 characters (RFC 5280, ub-common-name).
    common = f"{environment[:40]} {kind} {generation}"
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Groundwork"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    start: datetime,
    end: datetime,
    path_length: int,
) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - BACKDATE)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
