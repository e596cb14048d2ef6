"""What the handshakes of ``host_probe`` say about an endpoint, held against what should be."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from cryptography import x509

from groundwork.authority.endpoints import TlsEndpoint
from groundwork.authority.records import format_serial

PROGRAM = Path(__file__).with_name("host_probe.py")


@dataclass(frozen=True)
class Handshake:
    """What one endpoint did: the certificate it served, and how it took ours."""

    endpoint: TlsEndpoint
    served: x509.Certificate | None
    plain: bool
    """It answered without TLS."""
    unverified: str
    """Why what it served cannot be verified; empty when it can."""
    refused: str
    """How it refused our certificate; empty when it took it."""
    error: str

    @property
    def serial(self) -> str:
        """Serial number of the served certificate, in hexadecimal; empty where there is none."""
        return format_serial(self.served.serial_number) if self.served else ""


def build_task(
    endpoints: Iterable[TlsEndpoint],
    trusted: bytes,
    certificate: bytes = b"",
    key: bytes = b"",
) -> str:
    """The task for ``host_probe``: whom to ask, whom to trust (PEM), and whose certificate to show, if any."""
    task = {
        "trusted": trusted.decode(),
        "endpoints": [asdict(endpoint) for endpoint in endpoints],
        "certificate": certificate.decode(),
        "key": key.decode(),
    }
    return json.dumps(task) + "\n"


def parse_answers(text: str) -> list[Handshake]:
    """Read what ``host_probe`` prints. Raises ValueError when it is nothing of the kind."""
    names = [field.name for field in fields(TlsEndpoint)]
    found: list[Handshake] = []
    for answer in json.loads(text):
        served = base64.b64decode(answer["served"])
        found.append(
            Handshake(
                endpoint=TlsEndpoint(**{name: answer[name] for name in names}),
                served=x509.load_der_x509_certificate(served) if served else None,
                plain=answer["plain"],
                unverified=answer["unverified"],
                refused=answer["refused"],
                error=answer["error"],
            )
        )
    return found


def judge_served(handshake: Handshake, installed: str) -> str:
    """Say what is wrong with what an endpoint serves; an empty string when it is the installed certificate.

    ``installed`` is that one's serial number.
    """
    if handshake.plain:
        return "plain text"
    if handshake.error:
        return handshake.error
    if handshake.serial != installed:
        return f"serves {handshake.serial or 'nothing'}, installed is {installed or 'none'}"
    return f"cannot be verified: {handshake.unverified}" if handshake.unverified else ""


def judge_accepted(handshake: Handshake) -> str:
    """Say why a client with our certificate cannot use an endpoint; an empty string when it can."""
    if handshake.error:
        return handshake.error
    if handshake.unverified:
        return f"what it serves cannot be verified: {handshake.unverified}"
    return f"it refuses the certificate: {handshake.refused}" if handshake.refused else ""


def judge_refused(handshake: Handshake) -> str:
    """Say that an endpoint took a certificate that it must refuse; an empty string when it refused."""
    if not handshake.endpoint.wants_client or handshake.refused:
        return ""
    return handshake.error or "it takes a certificate that nobody may trust any more"
