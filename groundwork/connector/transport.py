"""An SSH transport that waits for less: no delayed packets, and two messages sent before the answers they do not need.

What is sent and agreed on is the same as paramiko's. With OpenSSH's server that makes five round trips from the first
byte to an open channel, of paramiko's seven (the server's own first line among them).
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from paramiko import ECDSAKey, Ed25519Key, Message, PKey, SSHException, Transport
from paramiko.auth_handler import AuthHandler
from typing_extensions import override

# Keys held here, whose algorithm is no matter of what the server says first. Agents may ask their user.
_EAGER_KEYS = (Ed25519Key, ECDSAKey)


class QuickTransport(Transport):
    """paramiko's transport as ``SSHClient.connect(transport_factory=...)`` takes it."""

    _early_kex = False

    def __init__(self, sock: Any, *args: Any, **arguments: Any) -> None:
        # A host behind a jump host has a channel in the socket's place. Nagle's algorithm costs 44 ms a command.
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock, *args, **arguments)

    def _check_banner(self) -> None:
        # RFC 4253, 4.2 and 7.1: key exchange begins right after one's own identification, without the other's.
        # Where the other side is gone, or none, what it said tells more than what could not be sent.
        with suppress(OSError, EOFError, SSHException):
            self._send_kex_init()
            self._early_kex = True
        super()._check_banner()  # type: ignore[misc]

    def _send_kex_init(self) -> None:
        if self._early_kex:
            self._early_kex = False
            return
        super()._send_kex_init()  # type: ignore[misc]

    @override
    def auth_publickey(self, username: str, key: PKey, event: threading.Event | None = None) -> list[str]:
        """As paramiko's, with the signature sent along with the request for the service (RFC 4252, 5)."""
        if event is not None or not isinstance(key, _EAGER_KEYS):
            return super().auth_publickey(username, key, event)
        if not self.active or not self.initial_kex_done:
            raise SSHException("No existing session")
        done = threading.Event()
        handler = _EagerAuthHandler(self)
        self.auth_handler = handler
        handler.auth_publickey(username, key, done)
        return list(handler.wait_for_response(done))


class _EagerAuthHandler(AuthHandler):
    _sent = False

    def _request_auth(self) -> None:
        super()._request_auth()  # type: ignore[misc]
        accepted = Message()
        accepted.add_string("ssh-userauth")
        accepted.rewind()
        super()._parse_service_accept(accepted)  # type: ignore[misc]
        self._sent = True

    def _parse_service_accept(self, message: Message) -> None:
        if self._sent:
            self._sent = False
            return
        super()._parse_service_accept(message)  # type: ignore[misc]
