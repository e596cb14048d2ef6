"""Answers over mutual TLS, each client in a thread of its own; certificates are read again once they are renewed."""

from __future__ import annotations

import http.client
import http.server
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .console import TIMEOUT, UnreadableError
from .figures import Sample, Target, read_nats, read_nginx, read_own, read_pgbouncer, render


class Identity:
    """Certificate and trust for both sides; read again when they have been renewed."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files
        self._seen: tuple[float, ...] = ()
        self._lock = threading.Lock()

    def take(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """The contexts to serve and to ask with."""
        with self._lock:
            seen = tuple(Path(path).stat().st_mtime for path in self._files.values())
            if seen != self._seen:
                self.serving = self._make(ssl.Purpose.CLIENT_AUTH)
                self.serving.verify_mode = ssl.CERT_REQUIRED
                self.asking = self._make(ssl.Purpose.SERVER_AUTH)
                self._seen = seen
            return self.serving, self.asking

    def _make(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        context = ssl.create_default_context(purpose, cafile=self._files["authority"])
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._files["certificate"], self._files["key"])
        return context


class Server(http.server.ThreadingHTTPServer):
    """Speaks TLS with each client in its own thread, so that a slow one holds up nobody."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, settings: dict[str, Any]) -> None:
        self.identity = Identity(settings["identity"])
        self.identity.take()
        self.targets: dict[str, Target] = settings["targets"]
        address = settings["address"]
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, int(settings["port"])), Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands, then answer."""
        request.settimeout(TIMEOUT)
        with self.identity.take()[0].wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in one line why a client got nothing."""
        print(f"{client_address[0]}: {sys.exc_info()[1]}", file=sys.stderr)

    def read(self, path: str) -> Iterator[Sample]:
        """Figures of what is shown at a path; raises as the target's reader does."""
        if path == "/metrics":
            return read_own()
        target = self.targets[path]
        if target["kind"] == "pgbouncer":
            return read_pgbouncer(target, self.identity.take()[1])
        readers: dict[str, Callable[[Target], Iterator[Sample]]] = {"nginx": read_nginx, "nats": read_nats}
        return readers[target["kind"]](target)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET."""

    server: Server
    server_version = "groundwork-exporter"
    sys_version = ""

    def do_GET(self) -> None:
        """Show what is at the path."""
        try:
            status, text = 404, "nothing is shown here\n"
            if self.path == "/metrics" or self.path in self.server.targets:
                status, text = 200, render(self.server.read(self.path))
        except (OSError, LookupError, ValueError, TypeError, UnreadableError, http.client.HTTPException) as error:
            status, text = 503, f"{type(error).__name__}: {error}\n"
            print(f"{self.path}: {text.strip()}", file=sys.stderr)
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Requests are not logged: there is one every few seconds."""
