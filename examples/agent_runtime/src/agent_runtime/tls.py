"""Mutual TLS: the contexts of this process, made anew when its certificate files change."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
WATCH_SECONDS = 2.0


class CertificateError(Exception):
    """The certificate files cannot be used; the message names the file."""


@dataclass(frozen=True)
class TlsFiles:
    """Where the process's certificate (with its intermediates), its key and the trusted roots lie."""

    certificate: Path
    key: Path
    authority: Path

    def digest(self) -> str:
        """Return a digest of the files' content, which differs whenever a serial number, a key or a root does.

        Raises:
            CertificateError: a file cannot be read.
        """
        digest = hashlib.sha256()
        for path in (self.certificate, self.key, self.authority):
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise CertificateError(f"{path}: {error.strerror}") from None
        return digest.hexdigest()

    def look(self) -> tuple[tuple[int, int, int], ...]:
        """Return what shows cheaply that a file, or the link to its folder, is another one: times, sizes, inodes."""
        found = []
        for path in (self.certificate, self.key, self.authority):
            try:
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)


def _make_context(files: TlsFiles, purpose: int) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.authority)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CertificateError(f"{files.certificate}, {files.key}, {files.authority}: {reason}") from None
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def make_client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that shows the certificate and checks the server's chain and its name or address.

    Raises:
        CertificateError: the files cannot be read or do not fit each other.
    """
    return _make_context(files, ssl.PROTOCOL_TLS_CLIENT)


def make_server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that requires a client certificate of the authority.

    Sessions are not resumed: a resumed one would not be checked against the roots that are trusted by then.

    Raises:
        CertificateError: as `make_client_context`.
    """
    context = _make_context(files, ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


class Tls:
    """The current contexts. `listener` stays the same object for the sockets that use it; handshakes get the newest."""

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self._digest, self._look = files.digest(), files.look()
        self.client = make_client_context(files)
        self._server = make_server_context(files)
        self.listener = make_server_context(files)
        # Called in every handshake, with or without a server name. The context it sets brings its certificate and its
        # trusted roots, so that a root that was taken away is no longer trusted (adding to a context cannot do that).
        self.listener.sni_callback = self._choose
        self._changed: list[Callable[[], Awaitable[None]]] = []

    def _choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._server

    def on_change(self, act: Callable[[], Awaitable[None]]) -> None:
        """Have `act` awaited after each change: whoever keeps connections opens new ones."""
        self._changed.append(act)

    async def refresh(self) -> bool:
        """Load the files again if they have changed, and tell whether they had.

        Files that do not fit each other (read in the middle of a change) leave the old contexts in use.

        Raises:
            CertificateError: a file cannot be read, or they do not fit.
        """
        look = self.files.look()
        if look == self._look:
            return False
        digest = self.files.digest()
        if digest == self._digest:
            self._look = look
            return False
        client, server = make_client_context(self.files), make_server_context(self.files)
        if digest != self.files.digest():
            raise CertificateError(f"{self.files.certificate}: changed while it was read")
        self.client, self._server = client, server
        self._digest, self._look = digest, look
        log.info("certificates loaded anew")
        for act in self._changed:
            await act()
        return True

    async def watch(self) -> None:
        """Look for new files every two seconds."""
        told = ""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self.refresh()
                told = ""
            except CertificateError as error:
                if str(error) != told:
                    log.error("certificates not loaded, the old ones stay: %s", error)
                told = str(error)
