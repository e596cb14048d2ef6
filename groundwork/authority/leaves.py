"""Signs the certificates of units."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from groundwork.authority.creation import BACKDATE, Issuer, identify_issuer
from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import Identity

LEAF_LIFE = timedelta(days=30)
"""Vault's advice for leaves is 30 to 90 days or less (Vault, "PKI considerations")."""


def sign_leaf(
    issuer: Issuer,
    identity: Identity,
    public_key: CertificatePublicKeyTypes,
    now: datetime,
    life: timedelta = LEAF_LIFE,
) -> x509.Certificate:
    """Certify that a key is the identity's, from five minutes before ``now`` for ``life``.

    Everything in it comes from the identity, never from a request. It is for servers and clients alike: peers
    of a cluster are both. Raises ProblemError when the issuer's own life is over or has not
    begun.
    """
    end = min(now + life, issuer.certificate.not_valid_after_utc)
    start = max(now - BACKDATE, issuer.certificate.not_valid_before_utc)
    if now + life <= issuer.certificate.not_valid_before_utc:
        begins = issuer.certificate.not_valid_before_utc.isoformat()
        message = "the intermediate authority is not valid yet: is this machine's clock right?"
        raise ProblemError([Problem(message, given=f"begins {begins}, now {now.isoformat()}")])
    if not start < end or now >= end:
        ended = issuer.certificate.not_valid_after_utc.isoformat()
        allowed = "groundwork certs rotate ENV --authority"
        raise ProblemError([Problem("the intermediate authority is not valid any more", given=ended, allowed=allowed)])
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.ip_addresses]
    names.append(x509.UniformResourceIdentifier(identity.uri))
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.account)]))
        .issuer_name(issuer.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_SIGNING, critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(identify_issuer(issuer.certificate), critical=False)
    )
    return builder.sign(issuer.key, hashes.SHA256())


def make_leaf(
    issuer: Issuer, identity: Identity, now: datetime, life: timedelta = LEAF_LIFE
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A leaf with its key, both made here: for probes that live for minutes, never for a unit."""
    key = ec.generate_private_key(ec.SECP256R1())
    return sign_leaf(issuer, identity, key.public_key(), now, life), key


_SIGNING = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
