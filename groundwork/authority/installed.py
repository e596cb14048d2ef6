"""What lies on a host for an identity, and whether it still serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from groundwork.authority.creation import BACKDATE
from groundwork.authority.requests import describe_name, expected_names
from groundwork.problems import Problem, ProblemError
from groundwork.topology.model import Identity

RENEW_AFTER = 2 / 3
"""Share of a certificate's life after which it is renewed (step-ca, cert-manager: two thirds)."""
KEY_MODE, CERTIFICATE_MODE = "400", "444"


@dataclass(frozen=True)
class Installed:
    """An identity's files as a host has them; empty text where there is none."""

    chain: str = ""
    """The certificate file (PEM)."""
    public_key: str = ""
    """Public half of the key file (PEM), as OpenSSL derives it on the host."""
    owners: tuple[str, str] = ("", "")
    """Owner and group of key and certificate: ``redis:redis``."""
    modes: tuple[str, str] = ("", "")
    """Modes of key and certificate, in octal digits."""

    def read_chain(self) -> list[x509.Certificate]:
        """The certificates in the file, leaf first; empty when there is none that can be read."""
        try:
            return x509.load_pem_x509_certificates(self.chain.encode())
        except ValueError:
            return []


def why_renew(
    installed: Installed,
    identity: Identity,
    issuer: x509.Certificate,
    now: datetime,
    reissue_before: datetime | None = None,
) -> str:
    """Say why an identity needs a new key and certificate; an empty string when what it has still serves.

    ``issuer`` is the intermediate that issues now, ``now`` the controller's time.
    """
    chain = installed.read_chain()
    if not chain:
        return "absent" if not installed.chain else "is no certificate"
    leaf = chain[0]
    if not installed.public_key:
        return "the key is missing"
    spki = leaf.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    if spki.split() != installed.public_key.split():
        return "the key does not fit"
    if not is_issued_by(leaf, issuer) or chain[1:] != [issuer]:
        return "another authority issued it"
    if names_of(leaf) != (identity.account, expected_names(identity)):
        return "names differ"
    if now >= leaf.not_valid_after_utc:
        return "expired"
    if share_of_life(leaf, now) >= RENEW_AFTER:
        return "two thirds of its life are over"
    if reissue_before and leaf.not_valid_before_utc + BACKDATE < reissue_before:
        return "its renewal was asked for"
    return ""


def why_mend(installed: Installed, identity: Identity) -> str:
    """Say what of owners and modes has to be mended; an empty string when all is as it should be."""
    owner = f"{identity.owner.name}:{identity.owner.name}"
    if installed.owners != (owner, owner):
        return "owner differs"
    return "mode differs" if installed.modes != (KEY_MODE, CERTIFICATE_MODE) else ""


def is_issued_by(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` signed ``leaf``."""
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def find_issuer(leaf: x509.Certificate, intermediates: Mapping[str, x509.Certificate]) -> str:
    """Name of the generation whose intermediate signed a certificate; empty when it is none of ours."""
    return next((name for name, issuer in intermediates.items() if is_issued_by(leaf, issuer)), "")


def names_of(leaf: x509.Certificate) -> tuple[str, set[str]]:
    """Account (common name) and names of a certificate, as ``expected_names`` gives those of an identity."""
    account = [str(attribute.value) for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    return ",".join(account), {describe_name(name) for name in names}


def share_of_life(leaf: x509.Certificate, now: datetime) -> float:
    """How much of its life is over, from 0 to 1 and beyond."""
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    return (now - start) / (end - start)


def check_clock(host: str, host_time: float, now: datetime) -> None:
    """Raise ProblemError when a host's clock (seconds since 1970) is too far off for certificates to be valid.

    Certificates are backdated by five minutes; a host that is further behind refuses them, and one as far ahead
    loses its services that much before they are renewed.
    """
    off = datetime.fromtimestamp(host_time, UTC) - now
    if abs(off) <= BACKDATE:
        return
    told = f"its clock is {_describe(abs(off))} {'ahead of' if off > timedelta(0) else 'behind'} the controller's"
    allowed = "at most 5 minutes: certificates would be invalid there; set the clock (timedatectl, chronyc makestep)"
    raise ProblemError([Problem(told, key=host, given=f"{host_time:.0f}", allowed=allowed)])


def _describe(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    hours = round(minutes / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{hours} hours" if hours < 72 else f"{round(hours / 24)} days"
