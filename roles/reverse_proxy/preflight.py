"""What is checked before nginx is set up on a host."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cryptography import x509

from groundwork.preflight.findings import SITE, Finding, Severity, judge
from groundwork.preflight.network import PortUse
from groundwork.preflight.questions import Answers
from groundwork.preflight.versions import ask_version, check_version
from groundwork.site import Site

ENDING = timedelta(days=14)
"""A certificate that somebody brings by hand should be replaced by then."""


def check_site(site: Site) -> Iterator[Finding]:
    """Certificates that are taken from files of the controller."""
    for name, exposure in site.platform.exposure.items():
        if exposure.tls.source != "files" or not exposure.tls.certificate:
            continue
        path = site.path(exposure.tls.certificate)
        remedy = f"put a certificate there, or correct exposure.{name}.tls.certificate"
        try:
            chain = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            yield judge("reverse_proxy.certificate", SITE, False, f"{path}: {error}", remedy)
            continue
        end = chain[0].not_valid_after_utc
        left = end - datetime.now(UTC)
        severity = Severity.ERROR if left < timedelta(0) else Severity.WARNING
        yield judge(
            "reverse_proxy.certificate", SITE, left > ENDING, f"{path} ends on {end:%Y-%m-%d}", remedy, severity
        )


def ask(_site: Site, _host: str) -> dict[str, str]:
    """nginx's version."""
    return ask_version("nginx")


def check_host(_site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """That nginx is there or can be installed."""
    yield check_version("reverse_proxy.version", host, answers, "nginx", None, "the release")


def list_ports(site: Site, host: str) -> Iterator[PortUse]:
    """Ports of sites and of redirects to them."""
    ports: dict[int, str] = {}
    for placed in site.topology.sites_on(host):
        exposure = site.platform.exposure[placed.exposure]
        ports.setdefault(placed.port, f"site {placed.exposure}")
        if exposure.redirect_port:
            ports.setdefault(exposure.redirect_port, f"redirect to {placed.exposure}")
    for port, purpose in ports.items():
        yield PortUse(port, ("nginx.service",), purpose)
