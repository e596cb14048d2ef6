"""A plain HTTPS client for checks: says which name it asks for, keeps every header, trusts any certificate."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from dataclasses import dataclass, field

TIMEOUT = 10.0
"""Seconds for a connection, and for each part of an answer."""
PATIENCE = 30.0
"""Seconds that a patient request waits for the rate limit to let it through."""


@dataclass(frozen=True)
class Answer:
    """One response: status, headers as they came, body."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Return the values of a header, one for each time it occurs."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass(frozen=True)
class HttpsClient:
    """Asks one address and port for a server name."""

    address: str
    port: int
    server_name: str

    def handshake(self, server_name: str = "", context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        """Open a TLS connection; without a context of the caller's, any certificate will do.

        Raises OSError (ssl.SSLError is one) when it is refused.
        """
        if context is None:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection((self.address, self.port), timeout=TIMEOUT)
        try:
            return context.wrap_socket(plain, server_hostname=server_name or self.server_name)
        except BaseException:
            plain.close()
            raise

    def connect(self, server_name: str = "") -> http.client.HTTPConnection:
        """Open a connection that takes several requests, one after the other; it opens again where it was closed."""
        connection = _Connection(self, server_name or self.server_name)
        connection.connect()
        return connection

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Send one request on a connection of its own; ``_`` in a header's name stands for ``-``.

        A request that the rate limit refuses is sent again until it is let through or PATIENCE is over.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            connection = self.connect()
            answer = send(connection, path, method, headers)
            connection.close()
            if answer.status != 429 or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)


class _Connection(http.client.HTTPConnection):
    """Speaks TLS with a client's address, also when it is opened again after the server closed it."""

    def __init__(self, client: HttpsClient, server_name: str) -> None:
        super().__init__(server_name, client.port, timeout=TIMEOUT)
        self._client = client

    def connect(self) -> None:
        self.sock = self._client.handshake(self.host)


def connect_plain(address: str, port: int) -> http.client.HTTPConnection:
    """Open a connection without TLS."""
    return http.client.HTTPConnection(address, port, timeout=TIMEOUT)


def send(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> Answer:
    """Send one request on an open connection. Raises http.client.BadStatusLine or OSError without an answer."""
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in (headers or {}).items()})
    response = connection.getresponse()
    return Answer(response.status, response.getheaders(), response.read())


def offer_only(version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a context that offers one version of TLS, also one that the library avoids by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    context.minimum_version = version
    return context
