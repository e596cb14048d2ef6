"""Real handshakes, in this process: leaves serve both ends, and the probe sees what it claims to see."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from groundwork.authority import host_probe
from groundwork.authority.endpoints import TlsEndpoint
from groundwork.authority.leaves import make_leaf
from groundwork.authority.serving import build_task, judge_accepted, judge_refused, judge_served, parse_answers
from groundwork.authority.store import AuthorityStore
from groundwork.topology.model import Identity


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def local(identity: Identity) -> Identity:
    return replace(identity, ip_addresses=("127.0.0.1",))


@pytest.fixture
def store(store: AuthorityStore, now: datetime, tmp_path: Path) -> AuthorityStore:
    fresh = AuthorityStore(tmp_path / "authority", store.secrets, "lab")
    fresh.initialise(now - timedelta(days=40))
    return fresh


class Leaf:
    def __init__(self, store: AuthorityStore, identity: Identity, start: datetime, generation: str = "1") -> None:
        issuer = store.issuer(generation)
        self.certificate, key = make_leaf(issuer, identity, start)
        self.chain = self.certificate.public_bytes(Encoding.PEM) + issuer.certificate.public_bytes(Encoding.PEM)
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.serial = f"{self.certificate.serial_number:X}"
        self.serial = self.serial.zfill(len(self.serial) + len(self.serial) % 2)


def say_nothing(stream: socket.socket) -> None:
    pass


def speak_postgresql(stream: socket.socket) -> None:
    assert stream.recv(8) == struct.pack("!ii", 8, 80877103)
    stream.sendall(b"S")


def decline_postgresql(stream: socket.socket) -> None:
    stream.recv(8)
    stream.sendall(b"N")


def speak_nats(stream: socket.socket) -> None:
    stream.sendall(b'INFO {"server_name": "n1", "tls_required": true} \r\n')


def decline_nats(stream: socket.socket) -> None:
    stream.sendall(b'INFO {"server_name": "n1"} \r\n')


@contextmanager
def serving(
    leaf: Leaf | None,
    trusted: bytes,
    folder: Path,
    before: Callable[[socket.socket], None] = say_nothing,
    client: ssl.VerifyMode = ssl.CERT_REQUIRED,
) -> Iterator[int]:
    """A server with a certificate (or, without one, a server that speaks plain text only)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if leaf:
        (folder / "pair.pem").write_bytes(leaf.key + leaf.chain)
        context.load_cert_chain(folder / "pair.pem")
        context.load_verify_locations(cadata=trusted.decode())
        context.verify_mode = client
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(stream: socket.socket) -> None:
        try:
            with stream:
                stream.settimeout(5)
                before(stream)
                if leaf is None:
                    stream.sendall(b"-ERR unknown command\r\n")
                    return
                with context.wrap_socket(stream, server_side=True) as secured:
                    secured.recv(1)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(stream,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def shake(port: int, store: AuthorityStore, leaf: Leaf | None = None, protocol: Any = "tls") -> Any:
    endpoint = TlsEndpoint("data", "redis-1", "127.0.0.1", port, protocol, True)
    text = build_task([endpoint], store.bundle(), leaf.chain if leaf else b"", leaf.key if leaf else b"")
    task = json.loads(text)
    answers = [host_probe.probe(one, task) for one in task["endpoints"]]
    return parse_answers(json.dumps(answers))[0]


@pytest.mark.parametrize(
    ("protocol", "before"), [("tls", say_nothing), ("postgresql", speak_postgresql), ("nats", speak_nats)]
)
def test_the_same_leaf_serves_and_calls(
    store: AuthorityStore, local: Identity, now: datetime, tmp_path: Path, protocol: str, before: Any
) -> None:
    served, calling = Leaf(store, local, now), Leaf(store, local, now)
    with serving(served, store.bundle(), tmp_path, before) as port:
        handshake = shake(port, store, calling, protocol)
        assert handshake.serial == served.serial
        assert judge_accepted(handshake) == judge_served(handshake, served.serial) == ""
        assert "takes a certificate" in judge_refused(handshake)
        assert "installed is" in judge_served(handshake, "00")


def test_a_client_without_a_certificate_sees_and_is_refused(
    store: AuthorityStore, local: Identity, now: datetime, tmp_path: Path
) -> None:
    served = Leaf(store, local, now)
    with serving(served, store.bundle(), tmp_path) as port:
        handshake = shake(port, store)
        assert judge_served(handshake, served.serial) == ""
        assert handshake.refused
        assert judge_refused(handshake) == ""
    with serving(served, store.bundle(), tmp_path, client=ssl.CERT_NONE) as port:
        assert "takes a certificate" in judge_refused(shake(port, store))


@pytest.mark.parametrize("kind", ["expired", "not yet valid", "another authority"])
def test_bad_certificates_are_told_apart_from_good_ones(
    store: AuthorityStore, local: Identity, now: datetime, tmp_path: Path, kind: str
) -> None:
    foreign = AuthorityStore(tmp_path / "foreign", store.secrets, "lab")
    foreign.initialise(now - timedelta(days=40))
    start = {"expired": now - timedelta(days=31), "not yet valid": now + timedelta(days=1)}.get(kind, now)
    bad = Leaf(foreign if kind == "another authority" else store, local, start)
    good = Leaf(store, local, now)
    with serving(good, store.bundle(), tmp_path) as port:
        handshake = shake(port, store, bad)
        assert "refuses" in judge_accepted(handshake)
        assert judge_refused(handshake) == ""
    with serving(bad, store.bundle(), tmp_path) as port:
        handshake = shake(port, store, good)
        assert handshake.unverified == "CERTIFICATE_VERIFY_FAILED"
        assert "cannot be verified" in judge_served(handshake, bad.serial)


def test_another_hosts_certificate_is_not_this_hosts(
    store: AuthorityStore, identity: Identity, now: datetime, tmp_path: Path
) -> None:
    elsewhere = Leaf(store, identity, now)
    with serving(elsewhere, store.bundle(), tmp_path) as port:
        assert "cannot be verified" in judge_served(shake(port, store), elsewhere.serial)


def test_both_authorities_are_taken_during_a_rotation(
    store: AuthorityStore, local: Identity, now: datetime, tmp_path: Path
) -> None:
    old = store.bundle()
    store.create_generation("2", now)
    store.set_state(store.state.changed(trusted=("1", "2")))
    both = store.bundle()
    first, second = Leaf(store, local, now), Leaf(store, local, now, "2")
    with serving(first, both, tmp_path) as port:
        assert judge_accepted(shake(port, store, second)) == ""
    with serving(first, old, tmp_path) as port:
        assert "refuses" in judge_accepted(shake(port, store, second))


@pytest.mark.parametrize(
    ("protocol", "before"), [("tls", say_nothing), ("postgresql", decline_postgresql), ("nats", decline_nats)]
)
def test_plain_text_is_recognised(store: AuthorityStore, tmp_path: Path, protocol: str, before: Any) -> None:
    with serving(None, b"", tmp_path, before) as port:
        handshake = shake(port, store, protocol=protocol)
        assert handshake.plain
        assert judge_served(handshake, "00") == "plain text"
        assert judge_refused(handshake) != ""


def test_nobody_there_is_an_error(store: AuthorityStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    handshake = shake(port, store)
    assert not handshake.plain
    assert "refused" in handshake.error
    assert judge_accepted(handshake)
    assert judge_refused(handshake)
