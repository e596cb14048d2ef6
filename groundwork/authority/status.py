"""How the certificates of an environment are: one row for each identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from groundwork.authority.creation import BACKDATE
from groundwork.authority.installed import Installed, find_issuer, share_of_life, why_mend, why_renew
from groundwork.authority.questions import HostCertificates
from groundwork.authority.records import format_serial
from groundwork.authority.state import AuthorityState
from groundwork.topology.model import Identity


@dataclass(frozen=True)
class CertificateRow:
    """One identity: what is installed for it, and why something has to be done (``due``, empty if nothing)."""

    unit: str
    host: str
    account: str
    serial: str = ""
    issued: str = ""
    expires: str = ""
    life_used: float = 0.0
    """Share of its life that is over, 0 to 1 and beyond."""
    chain: str = ""
    """Name of the generation whose intermediate signed it; ``foreign`` when it is none of ours."""
    due: str = ""


def list_rows(
    identities: Iterable[Identity],
    found: Mapping[str, HostCertificates],
    intermediates: Mapping[str, x509.Certificate],
    state: AuthorityState,
    now: datetime,
) -> list[CertificateRow]:
    """One row for each identity whose host answered; ``found`` is by host."""
    mark = datetime.fromisoformat(state.reissue_before) if state.reissue_before else None
    rows: list[CertificateRow] = []
    for identity in identities:
        if identity.host not in found:
            continue
        installed = found[identity.host].units.get(identity.unit, Installed())
        due = why_renew(installed, identity, intermediates[state.issuer], now, mark) or why_mend(installed, identity)
        rows.append(_describe(identity, installed, intermediates, due, now))
    return rows


def _describe(
    identity: Identity, installed: Installed, intermediates: Mapping[str, x509.Certificate], due: str, now: datetime
) -> CertificateRow:
    chain = installed.read_chain()
    if not chain:
        return CertificateRow(identity.unit, identity.host, identity.account, due=due)
    leaf = chain[0]
    return CertificateRow(
        unit=identity.unit,
        host=identity.host,
        account=identity.account,
        serial=format_serial(leaf.serial_number),
        issued=_format(leaf.not_valid_before_utc + BACKDATE),
        expires=_format(leaf.not_valid_after_utc),
        life_used=round(share_of_life(leaf, now), 3),
        chain=find_issuer(leaf, intermediates) or "foreign",
        due=due,
    )


def _format(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
