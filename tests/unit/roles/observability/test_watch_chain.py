"""The programs themselves on loopback, with the role's own files: an agent's failures become a page at a webhook."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from groundwork.authority import paths as authority
from groundwork.authority.creation import create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest.platform import Platform
from groundwork.objectives.budget import build_queries, judge, read_budgets
from groundwork.objectives.derivation import derive_objectives, make_spec
from groundwork.objectives.files import dump, render_platform_rules
from groundwork.secrets.value import SecretValue
from groundwork.topology import derive
from roles.observability import paths, plan, routing, scraping
from roles.observability.rules import make_platform_rules
from tests.unit.topology.systems import minimal

ROOT = Path(__file__).parents[4]
AGENT = ROOT / "tests/lab/watched_agent.py"
PROGRAMS = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}
HOME = "127.0.0.1"

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in PROGRAMS.values()), reason="Prometheus is not installed"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOME, 0))
        return int(probe.getsockname()[1])


class Chain:
    """One platform on this machine, watched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[dict[str, Any]] = []
        self.hook = self._serve_hook()
        ports = {name: free_port() for name in ("agent", "prometheus", "alertmanager")}
        interval = {"scrape_interval": "1s", "exporter_interval": "1s", "retention": "1d"}
        receivers = {"hook": {"kind": "webhook", "secret": "hook", "severities": ["page"]}}
        self.platform = Platform.model_validate(
            minimal(
                groups={"work": {"hosts": "red", "module": "m", "agents": {"worker": {"port": ports["agent"]}}}},
                objectives={"work": {"groups": ["work"], "error_rate": 0.1, "availability": 99.9}},
                secrets={"hook": {"kind": "provided"}},
                observability={
                    "prometheus": {"hosts": "red", "port": ports["prometheus"], **interval},
                    "alertmanager": {"hosts": "red", "port": ports["alertmanager"], "receivers": receivers},
                },
            )
        )
        inventory = Inventory((InventoryHost("one", HOME, frozenset({"red"})),), "inventory.py")
        self.topology = derive(self.platform, inventory, "test")
        self.ports = ports
        self._issue()
        self._write()
        self.processes = [
            self._start(server.program, *server.arguments)
            for server in plan.plan_servers(self.platform, self.topology, "one")
            if server.kind in PROGRAMS
        ]
        self.processes.append(self._start(sys.executable, str(AGENT), json.dumps(self._agent_settings())))

    def place(self, path: str) -> str:
        """A path or text of a host, in this test's folder."""
        kept = path.replace("/etc/groundwork/sample", str(self.folder / "etc"))
        return kept.replace("/var/lib/sample-", f"{self.folder}/data-")

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        words = [self.place(word) for word in command]
        log = (self.folder / f"{Path(words[0]).name}.log").open("wb")
        return subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)

    def _serve_hook(self) -> http.server.HTTPServer:
        told = self.told

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        server = http.server.ThreadingHTTPServer((HOME, 0), Hook)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def _issue(self) -> None:
        now = datetime.now(UTC)
        root = create_root("test", "one", now)
        issuer = create_intermediate(root, "test", "one", now)
        bundle = Path(self.place(authority.bundle("sample")))
        bundle.parent.mkdir(parents=True)
        bundle.write_bytes(root.certificate.public_bytes(Encoding.PEM))
        for identity in self.topology.identities:
            certificate, key = make_leaf(issuer, identity, now)
            chain = certificate.public_bytes(Encoding.PEM) + issuer.certificate.public_bytes(Encoding.PEM)
            path = Path(self.place(authority.certificate("sample", identity.unit)))
            path.parent.mkdir(parents=True)
            path.write_bytes(chain)
            private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            Path(self.place(authority.key("sample", identity.unit))).write_bytes(private)

    def _write(self) -> None:
        platform, topology = self.platform, self.topology
        secret = SecretValue(f"http://{HOME}:{self.hook.server_address[1]}/")
        derived = derive_objectives(platform)
        alertmanager = routing.make_configuration(platform, derived, {"hook": secret})
        for route in alertmanager["route"]["routes"]:
            route |= {"group_wait": "1s"}
        contents = {
            paths.alertmanager("sample"): dump(alertmanager),
            paths.prometheus("sample"): dump(scraping.make_prometheus(platform, topology, HOME)),
            paths.rules("sample", "objectives"): render_platform_rules(platform),
            paths.rules("sample", "platform"): dump(make_platform_rules(platform, topology)),
        }
        for identity in ("prometheus", "alertmanager"):
            contents[paths.web("sample", identity)] = dump(scraping.make_web("sample", identity))
        for job, targets in scraping.list_jobs(topology).items():
            # The others are not started here, and would be told as down after a minute.
            targets = targets if job in ("agent", *PROGRAMS) else []
            contents[paths.targets("sample", job)] = scraping.render_targets(targets)
        for path, content in contents.items():
            Path(self.place(path)).parent.mkdir(parents=True, exist_ok=True)
            Path(self.place(path)).write_text(self.place(content))

    def _agent_settings(self) -> dict[str, Any]:
        unit = next(one.unit for one in self.topology.identities if one.account == "work")
        return {
            "address": HOME,
            "port": self.ports["agent"],
            "failing": str(self.folder / "fails"),
            "authority": self.place(authority.bundle("sample")),
            "certificate": self.place(authority.certificate("sample", unit)),
            "key": self.place(authority.key("sample", unit)),
        }

    def ask(self, path: str, port: str = "prometheus", certificate: bool = True) -> Any:
        """What an interface answers over mutual TLS."""
        context = ssl.create_default_context(cafile=self.place(authority.bundle("sample")))
        if certificate:
            files = (authority.certificate("sample", "operator"), authority.key("sample", "operator"))
            context.load_cert_chain(*map(self.place, files))
        place = f"https://{HOME}:{self.ports[port]}{path}"
        with urllib.request.urlopen(place, context=context, timeout=10) as answer:
            return json.loads(answer.read())

    def query(self, text: str) -> list[dict[str, Any]]:
        """A result vector."""
        return list(self.ask(f"/api/v1/query?{urlencode({'query': text})}")["data"]["result"])

    def stop(self) -> None:
        """End everything."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
        self.hook.shutdown()


def wait(what: Callable[[], Any], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except OSError:
            pass
        assert time.monotonic() < until, f"not so within {seconds} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    made = Chain(tmp_path_factory.mktemp("chain"))
    try:
        yield made
    finally:
        made.stop()


def test_prometheus_sees_the_agent_over_mutual_tls(chain: Chain) -> None:
    wait(lambda: {s["metric"]["job"] for s in chain.query("up == 1")} == {"agent", "prometheus", "alertmanager"})
    assert {s["metric"]["group"] for s in chain.query("agent_ready")} == {"work"}


@pytest.mark.parametrize("part", ["prometheus", "alertmanager"])
def test_nobody_gets_in_without_a_certificate(chain: Chain, part: str) -> None:
    wait(lambda: chain.ask("/api/v2/status" if part == "alertmanager" else "/api/v1/status/buildinfo", part))
    with pytest.raises((ssl.SSLError, OSError)):
        chain.ask("/", part, certificate=False)


def test_a_failing_agent_pages_and_stops_the_release(chain: Chain) -> None:
    spec = make_spec(chain.platform, derive_objectives(chain.platform))
    assert spec is not None

    def verdict() -> tuple[str, str]:
        answers = {name: chain.query(text) for name, text in build_queries(spec).items()}
        judgement = judge(read_budgets(spec, answers))
        return judgement.verdict, " ".join(judgement.reasons)

    wait(lambda: verdict()[0] == "go")
    assert chain.told == []
    (chain.folder / "fails").touch()
    wait(lambda: "WorkErrors" in {alert["labels"]["alertname"] for alert in chain.told})
    assert {alert["labels"]["alertname"] for alert in chain.told} == {"WorkErrors"}
    assert {alert["labels"]["severity"] for alert in chain.told} == {"page"}
    assert verdict()[0] == "stop"
    assert "its page fires" in verdict()[1]
