"""The exporter of nginx, PgBouncer and NATS: what it reads, how it writes it, and whom it tells."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from groundwork.authority.creation import Issuer, create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.topology.accounts import ROOT
from groundwork.topology.model import Identity
from roles.observability.onhost.exporter import figures
from roles.observability.onhost.exporter.console import UnreadableError
from roles.observability.onhost.exporter.serving import Server

NGINX = b"Active connections: 3 \nserver accepts handled requests\n 17 16 41 \nReading: 0 Writing: 1 Waiting: 2 \n"
VARZ = {
    "server_name": "chorus-data", "connections": 4, "in_msgs": 10, "out_msgs": 12, "in_bytes": 100, "out_bytes": 120,
    "subscriptions": 7, "mem": 1000, "cpu": 0.5, "slow_consumers": 0, "routes": 0, "max_connections": 100,
}  # fmt: skip
JSZ = {"streams": 2, "consumers": 3, "messages": 40, "bytes": 400, "config": {"max_memory": 64, "max_storage": 128}}


def answer(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    told = {"/stub_status": NGINX, "/varz": json.dumps(VARZ).encode(), "/jsz": json.dumps(JSZ).encode(), **answers}
    monkeypatch.setattr(figures, "ask_http", lambda _target, path: told[path])


def test_figures_of_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    assert {name: value for name, _, value in figures.read_nginx({})} == {
        "nginx_connections_active": 3, "nginx_connections_accepted": 17, "nginx_connections_handled": 16,
        "nginx_http_requests_total": 41, "nginx_connections_reading": 0, "nginx_connections_writing": 1,
        "nginx_connections_waiting": 2,
    }  # fmt: skip
    answer(monkeypatch, **{"/stub_status": b"<html>"})
    with pytest.raises(UnreadableError):
        list(figures.read_nginx({}))


def test_figures_of_nats(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch)
    text = figures.render(figures.read_nats({}))
    assert 'gnatsd_varz_connections{server_id="chorus-data"} 4.0' in text
    assert "# TYPE gnatsd_varz_in_msgs counter" in text
    assert 'jetstream_server_total_messages{server_id="chorus-data"} 40.0' in text
    answer(monkeypatch, **{"/jsz": b'{"disabled": true}'})
    assert "jetstream" not in figures.render(figures.read_nats({}))


class Pool(threading.Thread):
    """Speaks as PgBouncer's administration database does, without TLS: rows of text, or an error."""

    def __init__(self, stream: socket.socket, answers: dict[str, list[dict[str, str]]], error: str = "") -> None:
        super().__init__(daemon=True)
        self.stream, self.answers, self.error = stream, answers, error
        self.start()

    def run(self) -> None:
        (length,) = struct.unpack("!i", self.stream.recv(4))
        self.stream.recv(length - 4)
        if self.error:
            self._send(b"E", f"SFATAL\0M{self.error}\0\0".encode())
            return
        self._send(b"R", struct.pack("!i", 0))
        self._send(b"Z", b"I")
        while head := self.stream.recv(5):
            question = self.stream.recv(struct.unpack("!ci", head)[1] - 4)[:-1].decode()
            rows = self.answers[question]
            columns = list(rows[0])
            described = b"".join(name.encode() + b"\0" + b"\0" * 18 for name in columns)
            self._send(b"T", struct.pack("!h", len(columns)) + described)
            for row in rows:
                values = b"".join(struct.pack("!i", len(v)) + v.encode() for v in row.values())
                self._send(b"D", struct.pack("!h", len(columns)) + values)
            self._send(b"Z", b"I")

    def _send(self, kind: bytes, body: bytes) -> None:
        # In pieces, as a network may deliver it.
        for byte in kind + struct.pack("!i", len(body) + 4) + body:
            self.stream.sendall(bytes([byte]))


class Bare:
    """Stands for the TLS context: the other end of a pair of sockets that speak plainly."""

    def wrap_socket(self, plain: socket.socket, server_hostname: str) -> socket.socket:
        return plain


def read_pool(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[dict[str, str]]], error: str = "") -> Any:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(socket, "create_connection", lambda *_: ours)

    def agree() -> None:
        theirs.recv(8)
        theirs.sendall(b"S")
        Pool(theirs, answers, error)

    threading.Thread(target=agree, daemon=True).start()
    return figures.read_pgbouncer({"address": "10.0.0.1", "port": 6432, "user": "exporter"}, Bare())  # type: ignore[arg-type]


def test_figures_of_pgbouncer(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"database": "main", **dict.fromkeys(figures.STATS, "2000000")}
    pools = {"database": "main", "user": 'o"r', **dict.fromkeys(figures.POOLS, "5")}
    text = figures.render(read_pool(monkeypatch, {"SHOW STATS": [stats], "SHOW POOLS": [pools]}))
    assert 'pgbouncer_stats_queries_total{database="main"} 2000000.0' in text
    assert 'pgbouncer_stats_client_wait_seconds_total{database="main"} 2.0' in text
    assert 'pgbouncer_pools_client_waiting_connections{database="main",user="o\\"r"} 5.0' in text


def test_what_pgbouncer_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableError, match="not allowed"):
        list(read_pool(monkeypatch, {}, "not allowed"))


def write_identity(folder: Path, issuer: Issuer, root: Issuer) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    identity = Identity("exporter", "here", ("localhost",), ("127.0.0.1",), "spiffe://t/t/exporter", "exporter", ROOT)
    certificate, key = make_leaf(issuer, identity, datetime.now(UTC), timedelta(hours=1))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = certificate.public_bytes(Encoding.PEM) + issuer.certificate.public_bytes(Encoding.PEM)
    files = {"authority": root.certificate.public_bytes(Encoding.PEM), "certificate": chain, "key": private}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in files}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, dict[str, str]]]:
    answer(monkeypatch)
    now = datetime.now(UTC)
    root = create_root("t", "1", now)
    identity = write_identity(tmp_path / "ours", create_intermediate(root, "t", "1", now), root)
    targets = {"/nginx": {"kind": "nginx"}, "/nats/nats-1": {"kind": "nats"}}
    server = Server({"address": "127.0.0.1", "port": 0, "identity": identity, "targets": targets})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, identity
    server.shutdown()
    server.server_close()


def get(server: Server, identity: dict[str, str] | None, path: str, authority: str) -> tuple[int, str]:
    context = ssl.create_default_context(cafile=authority)
    if identity:
        context.load_cert_chain(identity["certificate"], identity["key"])
    connection = http.client.HTTPSConnection("127.0.0.1", server.server_port, timeout=10, context=context)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_it_answers_whom_the_authority_knows(served: tuple[Server, dict[str, str]], tmp_path: Path) -> None:
    server, identity = served
    authority = identity["authority"]
    status, text = get(server, identity, "/nginx", authority)
    assert (status, "nginx_http_requests_total 41.0" in text) == (200, True)
    assert "process_resident_memory_bytes" in get(server, identity, "/metrics", authority)[1]
    assert get(server, identity, "/etc/passwd", authority)[0] == 404
    now = datetime.now(UTC)
    stranger = create_root("else", "1", now)
    foreign = write_identity(tmp_path / "foreign", create_intermediate(stranger, "else", "1", now), stranger)
    for shown in (None, foreign):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            get(server, shown, "/nginx", authority)


def test_what_cannot_be_read_is_a_target_that_is_down(
    served: tuple[Server, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, identity = served
    answer(monkeypatch, **{"/stub_status": b"", "/varz": b"{}"})
    for path in server.targets:
        assert get(server, identity, path, identity["authority"])[0] == 503


def test_a_renewed_certificate_is_taken_without_a_restart(
    served: tuple[Server, dict[str, str]], tmp_path: Path
) -> None:
    server, old = served
    trusted = tmp_path / "old"
    trusted.write_bytes(Path(old["authority"]).read_bytes())
    now = datetime.now(UTC)
    root = create_root("t", "2", now)
    write_identity(tmp_path / "ours", create_intermediate(root, "t", "2", now), root)
    for path in old.values():
        os.utime(path, (now.timestamp() + 5, now.timestamp() + 5))
    assert get(server, old, "/nginx", old["authority"])[0] == 200
    with pytest.raises(ssl.SSLError):
        get(server, old, "/nginx", str(trusted))
