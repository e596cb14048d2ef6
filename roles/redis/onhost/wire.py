"""Redis's protocol over mutual TLS (redis.io, "Redis serialization protocol")."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from .settings import Settings

Address = tuple[str, int]


class ReplyError(Exception):
    """What a server refused, in its words."""


class Connection:
    """One connection, logged in as the servers' own user. Raises OSError where there is none."""

    def __init__(self, settings: Settings, address: Address, seconds: float = 5.0) -> None:
        self.address = address
        context = ssl.create_default_context(cafile=settings.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.certificate, settings.key)
        plain = socket.create_connection(address, seconds)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname=address[0])
        self._stream = self._socket.makefile("rb")
        self.call("AUTH", settings.user, settings.password)

    def call(self, *words: object, seconds: float = 30.0) -> Any:
        """Send one command and return its answer. Raises ReplyError, OSError."""
        self._socket.settimeout(seconds)
        parts = [str(word).encode() for word in words]
        lengths = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), lengths))
        return self._answer()

    def _answer(self) -> Any:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"{self.address[0]}:{self.address[1]} hung up")
        mark, rest = line[:1], line[1:-2].decode()
        if mark == b"-":
            raise ReplyError(rest)
        if mark == b":":
            return int(rest)
        if mark == b"$":
            return None if rest == "-1" else self._stream.read(int(rest) + 2)[:-2].decode("utf-8", "surrogateescape")
        if mark == b"*":
            return [self._answer() for _ in range(int(rest))]
        return rest

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()
