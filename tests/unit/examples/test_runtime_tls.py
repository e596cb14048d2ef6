"""Mutual TLS of the agents' own servers and clients: who gets in, and what happens when certificates change."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.http_client import CallError, call
from agent_runtime.instance import Endpoint, InstanceError, parse_instance
from agent_runtime.tls import CertificateError, Tls, TlsFiles, make_client_context

from tests.unit.examples.support.certificates import Authority

WORKER = {"worker": "agent_runtime.agents.worker"}


def list_files(authority: Authority, account: str) -> TlsFiles:
    return TlsFiles(**{key: Path(path) for key, path in authority.files(account).items()})


def open_client(authority: Authority, account: str, bundle: Path | None = None) -> ssl.SSLContext:
    files = list_files(authority, account)
    return make_client_context(TlsFiles(files.certificate, files.key, bundle or files.authority))


def get_health(port: int, context: ssl.SSLContext | None) -> int:
    async def run() -> int:
        return (await call(Endpoint("localhost", "127.0.0.1", port), "GET", "/health", timeout=5, tls=context))[0]

    return asyncio.run(run())


def read_serial(port: int, context: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        certificate = secure.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    found = Authority(tmp_path / "authority")
    for account in ("core", "peer"):
        found.issue(account)
    return found


def test_only_certificates_of_the_authority_get_in(
    authority: Authority, redis_server: Any, start_runtime: Any, tmp_path: Path
) -> None:
    process = start_runtime("secure", WORKER, redis_server.port, tls=authority.files("core"))
    process.wait_for_message("READY=1")
    port = process.ports["worker"]
    assert get_health(port, open_client(authority, "peer")) == 200
    stranger = Authority(tmp_path / "stranger")
    stranger.issue("peer")
    nobody = ssl.create_default_context(cafile=authority.bundle)
    authority.issue("late", days=-1)
    for context in (
        None,  # plain HTTP
        nobody,  # no certificate
        open_client(stranger, "peer", authority.bundle),  # of another authority
        open_client(authority, "late"),  # expired
        open_client(stranger, "peer", stranger.bundle),  # does not trust the server
    ):
        with pytest.raises(CallError):
            get_health(port, context)
    old = open_client(authority, "peer")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(CallError):
        get_health(port, old)


def test_a_server_with_another_address_is_refused(authority: Authority, redis_server: Any, start_runtime: Any) -> None:
    authority.issue("elsewhere", address="192.0.2.7")
    process = start_runtime("elsewhere", WORKER, redis_server.port, tls=authority.files("elsewhere"))
    process.wait_for_message("READY=1")
    with pytest.raises(CallError, match="IP address mismatch"):
        get_health(process.ports["worker"], open_client(authority, "peer"))


def test_certificates_and_authority_change_without_a_dropped_connection(
    authority: Authority, redis_server: Any, start_runtime: Any
) -> None:
    process = start_runtime("rotating", WORKER, redis_server.port, tls=authority.files("core"))
    process.wait_for_message("READY=1")
    port = process.ports["worker"]
    old_root = authority.roots[0]
    old_client = open_client(authority, "peer")
    kept = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=old_client)
    kept.request("GET", "/health")
    assert kept.getresponse().read()
    before = read_serial(port, old_client)

    failures: list[str] = []
    calls = 0
    done = threading.Event()
    clients = {"now": old_client}

    def keep_calling() -> None:
        nonlocal calls
        while not done.is_set():
            try:
                assert get_health(port, clients["now"]) == 200
                calls += 1
            except (AssertionError, CallError) as error:
                failures.append(str(error))
            time.sleep(0.01)

    caller = threading.Thread(target=keep_calling)
    caller.start()

    def wait_for_serial(other_than: str, context: ssl.SSLContext) -> str:
        deadline = time.monotonic() + 10
        while (serial := read_serial(port, context)) == other_than:
            assert time.monotonic() < deadline, "the new certificate is not served"
            time.sleep(0.1)
        return serial

    authority.issue("core")
    after = wait_for_serial(before, old_client)

    # A new authority: first both roots are trusted, then all certificates are issued anew, then the old root goes.
    authority.renew_root()
    authority.write_bundle()
    time.sleep(3)
    authority.issue("core")
    authority.issue("peer")
    both = open_client(authority, "peer")
    clients["now"] = both
    wait_for_serial(after, both)
    assert get_health(port, both) == 200
    authority.write_bundle(authority.roots[1])
    deadline = time.monotonic() + 10
    bundle = authority.folder / "old.pem"
    new_bundle = authority.bundle.read_bytes()
    bundle.write_bytes(new_bundle)
    while True:
        try:
            # The old client's certificate; it trusts the new root, so that a refusal is the server's.
            old_client.load_verify_locations(bundle)
            get_health(port, old_client)
        except CallError:
            break
        assert time.monotonic() < deadline, "the old root is still trusted"
        time.sleep(0.1)
    done.set()
    caller.join()
    assert failures == []
    assert calls > 50
    # The connection from before all this still answers.
    kept.request("GET", "/health")
    assert kept.getresponse().status == 200
    assert old_root not in authority.roots[1:]


def test_files_that_do_not_fit_keep_the_old_certificate(authority: Authority) -> None:
    tls = Tls(list_files(authority, "core"))
    good = tls.client
    key = authority.folder / "core" / "current" / "key.pem"
    content = key.read_bytes()
    key.write_bytes((authority.folder / "peer" / "current" / "key.pem").read_bytes())
    with pytest.raises(CertificateError, match="key"):
        asyncio.run(tls.refresh())
    assert tls.client is good
    key.unlink()
    with pytest.raises(CertificateError, match="No such file"):
        asyncio.run(tls.refresh())
    key.write_bytes(content)
    assert asyncio.run(tls.refresh()) is False
    assert tls.client is good
    authority.issue("core")
    assert asyncio.run(tls.refresh()) is True
    assert tls.client is not good


def test_instance_names_what_is_wrong_with_tls() -> None:
    top: dict[str, Any] = dict.fromkeys(("platform", "environment", "group", "unit", "host", "address"), "x")
    top["agents"] = [{"name": "a", "replica": 1, "module": "m", "bind": "127.0.0.1", "port": 8000}]
    endpoints = [{"address": "127.0.0.1", "port": 1}]
    top["services"] = {"redis": {"kind": "redis", "endpoints": endpoints, "tls": True, "mode": "sharded"}}
    with pytest.raises(InstanceError) as caught:
        parse_instance(top)
    assert caught.value.problems == [
        "services.redis.mode: one of standalone, replicated, cluster is needed",
        "services.redis.tls: the instance has no tls",
    ]
    top["tls"] = {"certificate": "/c", "key": ""}
    with pytest.raises(InstanceError, match=r"tls\.key: a non-empty string.*tls\.authority"):
        parse_instance(top)


def test_missing_certificates_stop_the_start(authority: Authority, redis_server: Any, start_runtime: Any) -> None:
    files = {**authority.files("core"), "key": "/nonexistent/key.pem"}
    process = start_runtime("broken", WORKER, redis_server.port, tls=files)
    assert process.process.wait(15) == 1
    assert "/nonexistent/key.pem: No such file or directory" in process.log_path.read_text()
    assert "Traceback" not in process.log_path.read_text()
