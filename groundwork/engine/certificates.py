"""What renewing certificates needs of the hosts: read what is installed, converge, shake hands."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from groundwork.authority.endpoints import TlsEndpoint, list_tls_endpoints
from groundwork.authority.installed import check_clock
from groundwork.authority.questions import HostCertificates, ask_certificates, parse_certificates
from groundwork.authority.records import format_serial
from groundwork.authority.serving import PROGRAM, Handshake, build_task, judge_served, parse_answers
from groundwork.engine.api import apply
from groundwork.engine.asking import ask_hosts, run_command
from groundwork.engine.events import Event
from groundwork.inventory import InventoryHost
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site

DEPLOY = Path("deploys/rotate_certificates.py")
PATIENCE = 30.0
"""Seconds that a service is given to load a new certificate: agents look at their files every few seconds."""


class SiteHands:
    """Does on the hosts of one environment what a rotation needs (``groundwork.authority.rotation.Hands``)."""

    def __init__(self, site: Site, on_event: Callable[[Event], None] | None = None) -> None:
        self.site = site
        self.on_event = on_event
        self.endpoints = tuple(list_tls_endpoints(site.platform, site.topology))

    def converge(self) -> None:
        """Run the deploy that brings trust and certificates and has services load them."""
        result = apply(self.site.environment, deploys=(DEPLOY,), root=self.site.root, on_event=self.on_event)
        problems = list(result.problems)
        problems += [Problem(f"{host.stage}: {host.reason}", key=host.name) for host in result.failed_hosts]
        if problems:
            raise ProblemError(problems)

    def read_installed(self) -> tuple[dict[str, HostCertificates], list[Problem]]:
        """What lies on every host, by host; a Problem for each that cannot be asked or whose clock is off."""
        platform = self.site.platform.platform
        units: dict[str, list[str]] = {host.name: [] for host in self.site.inventory.hosts}
        for identity in self.site.topology.identities:
            units[identity.host].append(identity.unit)

        def question(host: InventoryHost) -> HostCertificates:
            output = run_command(host, ask_certificates(platform, units[host.name]))
            return parse_certificates(output.splitlines())

        found, problems = ask_hosts(self.site.inventory.hosts, question)
        for name, one in found.items():
            try:
                check_clock(name, one.clock or 0.0, datetime.now(UTC))
            except ProblemError as error:
                problems += error.problems
        return found, problems

    def probe(
        self, certificate: x509.Certificate | None, key: ec.EllipticCurvePrivateKey | None, chain: bytes = b""
    ) -> list[Handshake]:
        """Shake hands with every endpoint from its own host, where no firewall is in between."""
        shown = (certificate.public_bytes(Encoding.PEM) if certificate else b"") + chain
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) if key else b""
        trusted = self.site.authority.bundle()
        by_host: dict[str, list[TlsEndpoint]] = {}
        for endpoint in self.endpoints:
            by_host.setdefault(endpoint.host, []).append(endpoint)
        command = f"python3 -c {shlex.quote(PROGRAM.read_text('utf-8'))}"

        def question(host: InventoryHost) -> list[Handshake]:
            return parse_answers(run_command(host, command, build_task(by_host[host.name], trusted, shown, secret)))

        hosts = [host for host in self.site.inventory.hosts if host.name in by_host]
        answers, problems = ask_hosts(hosts, question)
        if problems:
            raise ProblemError(problems)
        return [handshake for name in answers for handshake in answers[name]]

    def check_served(self) -> None:
        """Raise ProblemError unless every endpoint that speaks TLS serves the certificate installed for it."""
        wrong = [one for one in self.compare_served() if one[1] and one[1] != "plain text"]
        if wrong:
            raise ProblemError(Problem(why, key=_place(handshake)) for handshake, why in wrong)

    def compare_served(self) -> list[tuple[Handshake, str]]:
        """Every endpoint with what is wrong about what it serves; services get a while to load what is new."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found, problems = self.read_installed()
            if problems:
                raise ProblemError(problems)
            compared = [(one, judge_served(one, _serial(found, one))) for one in self.probe(None, None)]
            if all(why in ("", "plain text") for _, why in compared) or time.monotonic() > deadline:
                return compared
            time.sleep(2)


def _serial(found: dict[str, HostCertificates], handshake: Handshake) -> str:
    installed = found[handshake.endpoint.host].units.get(handshake.endpoint.unit)
    chain = installed.read_chain() if installed else []
    return format_serial(chain[0].serial_number) if chain else ""


def _place(handshake: Handshake) -> str:
    endpoint = handshake.endpoint
    return f"{endpoint.host}: {endpoint.unit} at {endpoint.address}:{endpoint.port}"
