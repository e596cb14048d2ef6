"""Redis talks to nobody who does not show a certificate of the environment's authority, and never in plain text."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.authority.creation import Issuer, create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.site import Site
from groundwork.topology.identities import OPERATOR
from groundwork.topology.model import Identity, ServiceNode

# Reads one JSON line, connects as it says, asks PING and prints the answer, or the name of what refused it.
CALLER = """
import json, os, socket, ssl, sys, tempfile
wanted = json.loads(sys.stdin.readline())
try:
    stream = socket.create_connection((wanted["address"], wanted["port"]), 5)
    if wanted["tls"]:
        context = ssl.create_default_context(cafile=wanted["authority"])
        context.maximum_version = getattr(ssl.TLSVersion, wanted["tls"])
        context.minimum_version = ssl.TLSVersion.TLSv1
        if wanted["tls"] in ("TLSv1", "TLSv1_1"):
            context.set_ciphers("ALL:@SECLEVEL=0")
        if wanted["pem"]:
            with tempfile.NamedTemporaryFile("w", dir="/dev/shm") as file:
                file.write(wanted["pem"])
                file.flush()
                context.load_cert_chain(file.name)
        elif wanted["certificate"]:
            context.load_cert_chain(wanted["certificate"], wanted["key"])
        stream = context.wrap_socket(stream, server_hostname=wanted["address"])
        # In TLS 1.3 the server judges our certificate after the handshake, and closes with our PING unread: the
        # reset that follows would throw its reason away. So listen first; a server that is content says nothing.
        stream.settimeout(1)
        try:
            stream.recv(1)
        except TimeoutError:
            stream.settimeout(5)
    stream.sendall(b"PING\\r\\n")
    print(json.dumps(stream.recv(200).decode("latin-1")))
except OSError as error:
    print(json.dumps("refused: %s %s" % (type(error).__name__, error)))
"""


def call(host: Host, site: Site, node: ServiceNode, tls: str = "TLSv1_3", pem: str = "", unit: str = "") -> str:
    """What Redis answers to PING: in plain text, or over TLS with or without a certificate."""
    platform = site.platform.platform
    wanted: dict[str, Any] = {"address": node.address, "port": node.port, "tls": tls, "pem": pem}
    wanted |= {"authority": paths.bundle(platform)}
    wanted |= {"certificate": paths.certificate(platform, unit) if unit else "", "key": paths.key(platform, unit)}
    asked = f"printf '%s\\n' {shlex.quote(json.dumps(wanted))} | python3 -c {shlex.quote(CALLER)}"
    return str(json.loads(host.check_output(asked)))


def forge(issuer: Issuer, identity: Identity, now: datetime, life: timedelta = timedelta(days=1)) -> str:
    """A throw-away certificate with its intermediate and key, good from five minutes before ``now``."""
    certificate, key = make_leaf(issuer, identity, now, life)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = certificate.public_bytes(encoding) + issuer.certificate.public_bytes(encoding)
    return (chain + private).decode()


@pytest.fixture
def nodes(site: Site, host_name: str) -> tuple[ServiceNode, ...]:
    return site.topology.nodes_on(host_name, "redis")


@pytest.fixture
def operator(site: Site, host_name: str) -> Identity:
    return next(one for one in site.topology.identities if (one.unit, one.host) == (OPERATOR, host_name))


def test_a_certificate_of_the_environment_is_taken(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for version in ("TLSv1_2", "TLSv1_3"):
            assert call(host, site, node, version, unit=OPERATOR).startswith("-NOAUTH")


def test_plain_text_is_refused(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        answer = call(host, site, node, tls="")
        assert answer == "" or answer.startswith("refused: ConnectionResetError"), answer


def test_nobody_gets_in_without_a_certificate(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for version in ("TLSv1_2", "TLSv1_3"):
            answer = call(host, site, node, version)
            assert answer.startswith("refused: "), answer
            assert "CERTIFICATE_REQUIRED" in answer or "HANDSHAKE_FAILURE" in answer or "reset" in answer


def test_old_protocols_are_refused(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for version in ("TLSv1", "TLSv1_1"):
            answer = call(host, site, node, version, unit=OPERATOR)
            assert answer.startswith("refused: "), f"{version}: {answer}"


def test_certificates_of_another_authority_are_refused(
    host: Host, site: Site, nodes: tuple[ServiceNode, ...], operator: Identity
) -> None:
    now = datetime.now(UTC)
    foreign = create_intermediate(create_root(site.environment, "other", now), site.environment, "other", now)
    for node in nodes:
        answer = call(host, site, node, pem=forge(foreign, operator, now))
        assert answer.startswith("refused: "), answer
        assert "UNKNOWN_CA" in answer or "unknown ca" in answer, answer


def test_expired_certificates_are_refused(
    host: Host, site: Site, nodes: tuple[ServiceNode, ...], operator: Identity
) -> None:
    then = datetime.now(UTC) - timedelta(minutes=2)
    pem = forge(site.authority.issuer(), operator, then, timedelta(minutes=1))
    for node in nodes:
        answer = call(host, site, node, pem=pem)
        assert answer.startswith("refused: "), answer
        assert "EXPIRED" in answer.upper(), answer
