"""A place for spans: a real receiver of OTLP over HTTP with mutual TLS, which keeps what it is sent."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.unit.examples.support.certificates import Authority


@dataclass(frozen=True)
class Received:
    """One span as it arrived."""

    trace: str
    identifier: str
    parent: str
    name: str
    kind: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    sender: str
    """Common name in the certificate of whoever sent it."""
    schema: str
    text: str


def read_attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Receiver(ThreadingHTTPServer):
    """Listens on the loopback; only certificates of the authority are let in."""

    daemon_threads = True

    def __init__(self, authority: Authority) -> None:
        self.received: list[Received] = []
        authority.issue("traces")
        files = authority.files("traces")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files["authority"])
        context.load_cert_chain(files["certificate"], files["key"])
        context.verify_mode = ssl.CERT_REQUIRED
        super().__init__(("127.0.0.1", 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def environ(self, files: dict[str, str], group: str) -> dict[str, str]:
        """What tells a process to send its spans here."""
        prefix = "OTEL_EXPORTER_OTLP_TRACES_"
        return {
            f"{prefix}ENDPOINT": f"https://127.0.0.1:{self.server_port}/v1/traces",
            f"{prefix}CERTIFICATE": files["authority"],
            f"{prefix}CLIENT_CERTIFICATE": files["certificate"],
            f"{prefix}CLIENT_KEY": files["key"],
            "OTEL_SERVICE_NAME": group,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def wait_for(self, found: Callable[[list[Received]], Any], seconds: float = 30) -> Any:
        """Return what `found` makes of the spans once that is something."""
        deadline = time.monotonic() + seconds
        while not (result := found(list(self.received))):
            assert time.monotonic() < deadline, [(one.name, one.trace) for one in self.received][-50:]
            time.sleep(0.1)
        return result

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Those who are not let in are no failure."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        request = ExportTraceServiceRequest.FromString(content)
        subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        for one in request.resource_spans:
            resource = read_attributes(one.resource.attributes)
            for scope in one.scope_spans:
                for span in scope.spans:
                    self.server.received.append(  # type: ignore[attr-defined]
                        Received(
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.name,
                            span.kind,
                            span.status.code == 2,
                            read_attributes(span.attributes),
                            resource,
                            subject["commonName"],
                            scope.schema_url,
                            str(span),
                        )
                    )
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass
