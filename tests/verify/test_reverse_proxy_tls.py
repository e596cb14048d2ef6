"""The proxy's TLS: the declared certificate, key and protocol versions, for declared names only."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
import warnings

import pytest
from testinfra.host import Host

from groundwork.engine.https_client import HttpsClient, connect_plain, offer_only, send
from groundwork.inventory import InventoryHost
from groundwork.manifest.exposure import Exposure
from groundwork.site import Site

pytestmark = pytest.mark.role("reverse_proxy")
Exposed = list[tuple[str, Exposure, HttpsClient]]
NO_ANSWER = (ssl.SSLError, ConnectionResetError, http.client.BadStatusLine)


@pytest.fixture
def exposed(site: Site, host_model: InventoryHost) -> Exposed:
    """Every site of the host: its name, what is declared of it, and a client that asks it."""
    placed = [
        (item.exposure, site.platform.exposure[item.exposure]) for item in site.topology.sites_on(host_model.name)
    ]
    return [
        (name, one, HttpsClient(host_model.address, one.port, one.server_names[0].replace("*", "any")))
        for name, one in placed
    ]


def test_certificate_served_is_the_one_on_the_host(exposed: Exposed, host: Host, site: Site) -> None:
    for name, declared, client in exposed:
        with client.handshake() as connection:
            served = connection.getpeercert(binary_form=True)
        assert served is not None
        path = key = f"/etc/groundwork/{site.platform.platform}/nginx/tls/{name}.pem"
        if declared.tls.source == "authority":
            folder = f"/etc/groundwork/{site.platform.platform}/certificates/site-{name}/current"
            path, key = f"{folder}/certificate.pem", f"{folder}/key.pem"
        shown = host.check_output(f"openssl x509 -in {path} -noout -fingerprint -sha256").partition("=")[2]
        assert shown.replace(":", "").lower() == hashlib.sha256(served).hexdigest()
        file = host.file(key)
        assert (file.user, file.group, file.mode) in (("root", "root", 0o600), ("root", "root", 0o400))


def test_certificate_is_valid_for_every_declared_name(exposed: Exposed, host_model: InventoryHost, site: Site) -> None:
    for _, declared, client in exposed:
        with client.handshake() as connection:
            served = ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")
        names = list(declared.server_names)
        context = ssl.create_default_context()
        if declared.tls.source == "self_signed":
            context = ssl.create_default_context(cadata=served)
            names.append(host_model.address)
        elif declared.tls.source == "authority":
            context = ssl.create_default_context(cadata=site.authority.bundle().decode())
            names.append(host_model.address)
        for name in names:
            # The handshake fails where the certificate does not name it.
            with client.handshake(name.replace("*", "any"), context) as connection:
                assert connection.version() in declared.tls.protocols
                ends = ssl.cert_time_to_seconds(str((connection.getpeercert() or {})["notAfter"]))
                assert ends > time.time() + 7 * 86400, "expires within a week"


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_tls_is_refused(exposed: Exposed, version: str) -> None:
    for _, declared, client in exposed:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old = offer_only(ssl.TLSVersion[version])
        with pytest.raises(OSError):
            client.handshake(context=old)
        for protocol in declared.tls.protocols:
            with client.handshake(context=offer_only(ssl.TLSVersion[protocol.replace(".", "_")])) as connection:
                assert connection.version() == protocol


def test_undeclared_names_get_no_answer(exposed: Exposed) -> None:
    for _, declared, client in exposed:
        assert client.ask("/").status, "it answers to a declared name"
        with pytest.raises(NO_ANSWER):
            send(client.connect("undeclared.example"), "/")
        # A name that is declared for the handshake does not open the door for another one after it.
        with pytest.raises(NO_ANSWER):
            send(client.connect(), "/", headers={"Host": "undeclared.example"})
        if declared.redirect_port:
            plain = connect_plain(client.address, declared.redirect_port)
            with pytest.raises(NO_ANSWER):
                send(plain, "/", headers={"Host": "undeclared.example"})


def test_plain_http_is_redirected(exposed: Exposed) -> None:
    for _, declared, client in exposed:
        if declared.redirect_port is None:
            continue
        plain = connect_plain(client.address, declared.redirect_port)
        answer = send(plain, "/some/path?and=query", headers={"Host": client.server_name})
        port = "" if declared.port == 443 else f":{declared.port}"
        assert answer.status in (301, 308)
        assert answer.all("Location") == [f"https://{client.server_name}{port}/some/path?and=query"]
