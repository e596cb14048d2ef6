"""The probe against servers of its own, and which checks each host gets."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roles.observability.probes import list_checks
from tests.unit.examples.support.certificates import Authority
from tests.unit.examples.support.servers import Server, find_port, find_program
from tests.unit.roles.observability.test_watch_plan import make_platform, make_topology

ROOT = Path(__file__).parents[4]
PROBE = ROOT / "roles/observability/onhost/groundwork_probe.py"
HOME = "127.0.0.1"


def probe(*checks: dict[str, Any], arguments: tuple[str, ...] = ()) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and results."""
    command = [sys.executable, str(PROBE), "--file", "-", *arguments]
    done = subprocess.run(command, input=json.dumps(checks), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    for account in ("server", "operator"):
        made.issue(account)
    return made


@pytest.fixture(scope="module")
def web(authority: Authority) -> Iterator[int]:
    """An HTTPS server that wants a client certificate; /ready is well, all else 503."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ready" else 503)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer((HOME, 0), Handler)
    files = authority.files("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["key"])
    context.load_verify_locations(files["authority"])
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()


def test_http_over_mutual_tls(web: int, authority: Authority) -> None:
    check = {"kind": "http", "url": f"https://{HOME}:{web}/ready", "identity": authority.files("operator")}
    assert probe(check)[0] == 0
    code, [result] = probe({**check, "url": f"https://{HOME}:{web}/other"})
    assert (code, result["ok"], result["detail"]) == (2, False, "answers 503")
    trust = {"authority": authority.files("operator")["authority"]}
    code, [result] = probe({**check, "identity": trust})
    assert (code, result["ok"]) == (2, False)


def test_a_certificate_of_somebody_else_is_no_answer(web: int, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    stranger.issue("operator")
    check = {"kind": "tls", "address": HOME, "port": web, "identity": stranger.files("operator")}
    code, [result] = probe(check)
    assert code == 2
    assert "CERTIFICATE_VERIFY_FAILED" in result["detail"]


def test_how_long_certificates_last(web: int, authority: Authority) -> None:
    served = {"kind": "tls", "address": HOME, "port": web, "identity": authority.files("operator")}
    on_disk = {"kind": "certificate", "path": authority.files("server")["certificate"]}
    code, results = probe(served, on_disk)
    assert code == 0
    assert results[0]["expires"] == results[1]["expires"]
    code, results = probe({**served, "days": 40}, {**on_disk, "days": 40})
    assert code == 2
    assert all(
        result["detail"].startswith("the certificate ends in 29.9") or "30.0" in result["detail"] for result in results
    )


def test_redis_and_nats_and_what_is_neither(authority: Authority, tmp_path: Path, web: int) -> None:
    files, client = authority.files("server"), authority.files("operator")
    redis, nats = find_port(), find_port()
    command = [find_program("redis-server", "redis-server"), "--port", "0", "--tls-port", str(redis), "--save", ""]
    command += ["--tls-cert-file", files["certificate"], "--tls-key-file", files["key"]]
    command += ["--tls-ca-cert-file", files["authority"], "--requirepass", "secret", "--dir", str(tmp_path)]
    configuration = tmp_path / "nats.conf"
    configuration.write_text(
        f'listen: "{HOME}:{nats}"\ntls {{ cert_file: "{files["certificate"]}", key_file: "{files["key"]}",'
        f' ca_file: "{files["authority"]}", verify: true }}\n'
    )
    running = [
        Server(command, redis, tmp_path / "redis.log"),
        Server([find_program("nats-server", "nats-server"), "-c", str(configuration)], nats, tmp_path / "nats.log"),
    ]
    try:
        checks = [
            {"kind": kind, "address": HOME, "port": port, "identity": client}
            for kind, port in (("redis", redis), ("nats", nats), ("tcp", redis), ("redis", web), ("nats", redis))
        ]
        for check in checks:
            check["timeout"] = 3
        code, results = probe(*checks)
        assert [result["ok"] for result in results] == [True, True, True, False, False], results
        assert code == 2
    finally:
        for server in running:
            server.kill()


def test_what_does_not_answer_takes_no_longer_than_its_time(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind((HOME, 0))
        silent.listen(1)
        port = silent.getsockname()[1]
        code, [result] = probe({"kind": "postgresql", "address": HOME, "port": port, "timeout": 1})
    assert code == 2
    assert 0.9 < result["seconds"] < 10
    assert "Timeout" in result["detail"] or "timed out" in result["detail"]


def test_results_are_metrics_too(tmp_path: Path) -> None:
    target = tmp_path / "probe.prom"
    checks = [{"name": 'odd "name"', "kind": "tcp", "address": HOME, "port": find_port()}]
    assert probe(*checks, arguments=("--metrics", str(target)))[0] == 2
    text = target.read_text()
    assert 'groundwork_probe_success{name="odd \\"name\\"",kind="tcp"} 0' in text
    assert "groundwork_probe_last_run_timestamp_seconds" in text
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [target]


def test_all_is_well_without_what_is_not_required(tmp_path: Path) -> None:
    target, check = tmp_path / "probe.prom", {"kind": "tcp", "address": HOME, "port": find_port()}
    code, results = probe({**check, "required": False}, arguments=("--metrics", str(target)))
    assert (code, [(one["ok"], one["required"]) for one in results]) == (0, [(False, False)])
    assert 'groundwork_probe_success{name="tcp",kind="tcp",required="false"} 0' in target.read_text()
    assert probe({**check, "required": False}, check)[0] == 2


@pytest.mark.parametrize("checks", ['[{"kind": "telepathy"}]', "[{", '["tcp"]', "[]"])
def test_what_is_no_check_is_refused(checks: str) -> None:
    command = [sys.executable, str(PROBE), "--file", "-"]
    done = subprocess.run(command, input=checks, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("groundwork-probe: ")


def test_each_host_checks_its_own_and_what_it_calls() -> None:
    groups = {
        "work": {"hosts": "red", "module": "m", "needs": ["redis", "player"], "agents": {"worker": {"port": 9000}}},
        "play": {"hosts": "blue", "module": "m", "agents": {"player": {"port": 9001}}},
    }
    topology = make_topology(make_platform(groups=groups))
    names = {host: [check["name"] for check in list_checks(topology, host)] for host in ("one", "three")}
    assert names["one"] == [
        "unit sample-worker@1.service", "certificate sample-worker@1", "certificate site-web", "certificate nginx",
        "certificate exporter", "certificate operator", "call 10.0.0.2:6379", "call player at 10.0.0.3:9001",
    ]  # fmt: skip
    assert not [name for name in names["three"] if name.startswith("call")]
    kinds = {check["kind"] for check in list_checks(topology, "two")}
    assert kinds == {"unit", "certificate", "redis", "nats", "tcp", "http"}


@pytest.mark.parametrize("required", [True, False])
def test_calls_that_nobody_counts_on_are_not_required(required: bool) -> None:
    agents = {"worker": {"port": 9000, "needs": [{"name": "bank", "required": False}, {"name": "redis"}]}}
    needs = [{"name": "nats", "required": required}]
    groups = {"work": {"hosts": "red", "module": "m", "needs": needs, "agents": agents}}
    topology = make_topology(make_platform(groups=groups))
    checks = list_checks(topology, "one")
    found = {check["name"]: check.get("required", True) for check in checks if check["kind"] == "tcp"}
    labels = {target.address: dict(target.labels) for target in topology.scrape_targets}
    assert labels["bank.example.org"]["required"] == "false"
    assert "required" not in labels["10.0.0.2"]
    assert found == {"call bank.example.org:443": False, "call 10.0.0.2:4222": required, "call 10.0.0.2:6379": True}
