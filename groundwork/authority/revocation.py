"""Revocation lists: one of the root for intermediates, one of the intermediate for leaves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from groundwork.authority.creation import BACKDATE, Issuer, identify_issuer

LIST_LIFE = timedelta(days=60)
"""Life of the leaves' list: twice a leaf's, so that an environment which nobody applies to loses its certificates
before its list."""


def sign_revocations(
    issuer: Issuer, revoked: Iterable[tuple[int, datetime]], number: int, now: datetime, end: datetime
) -> x509.CertificateRevocationList:
    """Sign the list of revoked serial numbers with the times they were revoked at.

    ``number`` has to grow from list to list (RFC 5280, 5.2.3). OpenSSL refuses every certificate once a list is
    past its ``end``.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - BACKDATE)
        .next_update(end)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(identify_issuer(issuer.certificate), critical=False)
    )
    for serial, time in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(time).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, hashes.SHA256())


def is_due(current: x509.CertificateRevocationList, now: datetime) -> bool:
    """Whether half of a list's life is over."""
    end = current.next_update_utc
    return end is None or end - now < (end - current.last_update_utc) / 2
