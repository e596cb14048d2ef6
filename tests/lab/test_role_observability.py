"""The role observability on real hosts: everything is seen, over mutual TLS, and what goes wrong reaches a webhook."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from groundwork.authority.leaves import make_leaf
from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.boot import open_session
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabState
from groundwork.objectives.prometheus import query_prometheus
from groundwork.problems import ProblemError
from groundwork.secrets.value import SecretValue
from groundwork.site import Site, load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-watch-{RELEASE}"
DEPLOY = Path("deploys/observability_only.py")
# The platform whose lab has two hosts; only its name and hosts are used.
PLATFORM = "chorus"
AGENT = Path(__file__).with_name("watched_agent.py").read_text()
HOOK_PORT = 8099
# As a process of the platform is called, so that the host's own checks find it.
AGENT_UNIT = "chorus-worker@1"
STATIC = "../examples/chorus_dashboard"
ROLES = ("pki", "redis", "postgresql", "nats", "reverse_proxy", "observability")
# Writes every alert that it is told of into a file, one line of JSON each.
HOOK = """\
import http.server, json, sys, time
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("/run/alerts", "a") as file:
            for alert in body["alerts"]:
                file.write(json.dumps([time.time(), alert["status"], alert["labels"]]) + "\\n")
        self.send_response(200); self.end_headers()
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Hook).serve_forever()
"""


def make_manifest() -> dict[str, Any]:
    return {
        "version": 1,
        "platform": PLATFORM,
        "runtime": {"package": {"directory": "../examples/agent_runtime"}, "launcher": "agent_runtime"},
        "services": {
            "redis": {"hosts": "data", "memory_max": "64MiB"},
            "postgresql": {"hosts": "data", "databases": {"main": {}}, "memory_max": "256MiB", "pgbouncer": {}},
            "nats": {"hosts": "data"},
        },
        "exposure": {"pages": {"hosts": "data", "server_names": ["pages.test"], "routes": {"/": {"static": STATIC}}}},
        "groups": {"work": {"hosts": "app", "module": "m", "needs": ["redis"], "agents": {"worker": {"port": 9000}}}},
        "objectives": {
            "work": {"groups": ["work"], "availability": 99.9, "error_rate": 0.1},
            "store": {"services": ["redis"], "availability": 99.9},
            "database": {"services": ["postgresql"], "availability": 99.9},
        },
        "observability": {
            "prometheus": {
                "hosts": "data",
                "scrape_interval": "5s",
                "exporter_interval": "5s",
                "retention": "1d",
                "retention_size": "512MiB",
            },
            "alertmanager": {"hosts": "data", "receivers": {"hook": {"kind": "webhook", "secret": "hook"}}},
        },
        "secrets": {"hook": {"kind": "provided"}},
        "lab": {"hosts": {"app": ["app"], "data": ["data"]}},
    }


class Stage:
    """A lab and a project of its own whose manifest a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "inventories", "group_data", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        (root / "platforms").mkdir()
        (root / "deploys").mkdir()
        lines = ["from groundwork.site import current_site"]
        lines += [f"from roles.{role}.deploy import {role}" for role in ROLES]
        lines += ["", "site = current_site()", *(f"{role}(site)" for role in ROLES), ""]
        (root / DEPLOY).write_text("\n".join(lines))
        self.manifest = make_manifest()

    def load(self) -> Site:
        """The site as declared, with its secrets and its authority."""
        (self.root / f"platforms/{PLATFORM}.yaml").write_text(yaml.safe_dump(self.manifest))
        site = load_site("lab", self.root)
        site.secrets.initialise()
        site.authority.initialise()
        have = site.secrets.names()
        for name, declaration in site.topology.secret_declarations.items():
            if name not in have:
                value = f"http://127.0.0.1:{HOOK_PORT}/" if declaration.kind == "provided" else os.urandom(16).hex()
                site.secrets.write(name, SecretValue(value))
        return site

    def apply(self) -> RunResult:
        self.load()
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        self.load()
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def run(self, host: str, command: str) -> str:
        """Run a line of shell as root on a host and return what it prints."""
        state = LabState(NAME, ROOT)
        spec = state.read_spec()
        assert spec is not None
        address = next(each.address for each in spec.hosts if each.name == host)
        with open_session(address, state.key_file, state.known_hosts_file, timeout=20) as session:
            _, output, errors = session.exec_command(f"sudo -n sh -c {shlex.quote(command)}", timeout=120)
            return (output.read() + errors.read()).decode(errors="replace").strip()

    def start(self, host: str, unit: str, code: str, *arguments: str) -> None:
        """Run Python code as a unit that ends with the host."""
        self.run(host, f"systemctl stop {unit} 2>/dev/null; systemctl reset-failed {unit} 2>/dev/null")
        words = " ".join(shlex.quote(word) for word in arguments)
        told = self.run(host, f"systemd-run --unit={unit} python3 -c {shlex.quote(code)} {words}")
        assert "Running as unit" in told, told

    def query(self, **queries: str) -> dict[str, list[dict[str, Any]]]:
        try:
            return query_prometheus(self.load(), queries)
        except ProblemError:
            # It is starting.
            return {name: [] for name in queries}

    def forget(self) -> None:
        """Begin anew: nothing measured, nothing told, everything up."""
        units, data = (
            "chorus-prometheus chorus-alertmanager",
            "/var/lib/chorus-prometheus/* /var/lib/chorus-alertmanager/*",
        )
        self.run("data", f"systemctl stop {units}; rm -rf {data}; : >/run/alerts; systemctl start {units}")
        wait(lambda: self.query(up="up == 1")["up"], 60)
        wait(lambda: len(self.query(up="up == 1")["up"]) == len(self.load().topology.scrape_targets), 120)

    def told(self) -> list[tuple[float, str, dict[str, str]]]:
        """What reached the webhook so far: time, status, labels."""
        text = self.run("data", "cat /run/alerts 2>/dev/null")
        return [tuple(json.loads(line)) for line in text.splitlines()]


def wait(what: Callable[[], Any], seconds: float = 120) -> float:
    """Wait until something is so, and return how many seconds it took."""
    started = time.monotonic()
    while True:
        if what():
            return time.monotonic() - started
        assert time.monotonic() - started < seconds, f"not so within {seconds} s"
        time.sleep(1)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, PLATFORM, RELEASE, Phases(print))
    made = Stage(tmp_path_factory.mktemp("project"))
    result = made.apply()
    assert failures(result) == []
    site = made.load()
    folder = f"/etc/groundwork/{PLATFORM}"
    served = next(one for one in site.topology.identities if one.account == "work")
    settings = {
        "address": site.inventory.host("app").address,
        "port": 9000,
        "failing": "/run/agent-fails",
        "authority": f"{folder}/authority/bundle.pem",
        "certificate": f"{folder}/certificates/{served.unit}/current/certificate.pem",
        "key": f"{folder}/certificates/{served.unit}/current/key.pem",
    }
    now = datetime.now(UTC)
    certificate, key = make_leaf(site.authority.issuer(), served, now, timedelta(seconds=1))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = certificate.public_bytes(Encoding.PEM) + site.authority.issuer().certificate.public_bytes(Encoding.PEM)
    made.run("app", f"cat >/run/agent-expired.pem <<'END'\n{(chain + private).decode()}END")
    made.run("app", f"echo {site.inventory.host('data').address} >/run/other")
    made.run("data", "systemctl list-units --plain --no-legend 'postgresql@*' | cut -d' ' -f1 >/run/postgresql-unit")
    made.start("data", "hook", HOOK, str(HOOK_PORT))
    made.start("app", AGENT_UNIT, AGENT, json.dumps(settings))
    yield made
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


def failures(result: RunResult) -> list[str]:
    found = [f"{host.name}: {host.reason}" for host in result.hosts if host.failed]
    return found + [
        f"{host.name}: {op.name}: {op.model_dump_json()[-1500:]}"
        for host in result.hosts
        for op in host.operations
        if op.status is OperationStatus.FAILED
    ]


def changed(result: RunResult) -> list[str]:
    assert failures(result) == []
    quiet = (OperationStatus.UNCHANGED, OperationStatus.NOT_RUN)
    return [f"{host.name}: {op.name}" for host in result.hosts for op in host.operations if op.status not in quiet]


def test_the_second_run_changes_nothing(stage: Stage) -> None:
    assert changed(stage.apply()) == []


def test_every_target_answers(stage: Stage) -> None:
    expected = {
        ("agent", "app"), ("node", "app"), ("node", "data"), ("redis", "data"), ("postgresql", "data"),
        ("prometheus", "data"), ("blackbox", "data"), ("alertmanager", "data"), ("services", "data"), ("nginx", "data"),
        ("pgbouncer", "data"), ("nats", "data"), ("probe", "data"),
    }  # fmt: skip

    def find() -> set[tuple[str, str]]:
        found = stage.query(up="up == 1")["up"]
        return {(sample["metric"]["job"], sample["metric"]["host"]) for sample in found}

    wait(lambda: find() == expected)
    figures = stage.query(redis="redis_up", pg="pg_up", node="node_systemd_unit_state{state='active'} == 1")
    assert [sample["value"][1] for sample in (*figures["redis"], *figures["pg"])] == ["1", "1"]
    services = stage.query(
        nginx="nginx_http_requests_total > 0",
        pool='pgbouncer_stats_queries_total{database="pgbouncer"}',
        nats="gnatsd_varz_connections",
    )
    assert {name: len(found) for name, found in services.items()} == {"nginx": 1, "pool": 1, "nats": 1}
    assert {"hook.service", "chorus-prometheus.service"} <= {s["metric"]["name"] for s in figures["node"]}


def test_verification_agrees(stage: Stage) -> None:
    command = [sys.executable, "-m", "pytest", "tests/verify/test_observability.py", "--env", "lab", "-q", "-x"]
    environ = {**os.environ, "GROUNDWORK_ROOT": str(stage.root)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout


def test_budgets_are_measured_and_the_gate_opens(stage: Stage) -> None:
    def ask(verb: str) -> tuple[int, Any]:
        command = [sys.executable, "-m", "groundwork.cli.main", "slo", verb, "lab", "--json"]
        environ = {**os.environ, "GROUNDWORK_ROOT": str(stage.root)}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout)

    # Right after the start nothing is measured yet, and that stops a release.
    wait(lambda: all(one["remaining"] is not None for one in ask("status")[1]["objectives"]))
    wait(lambda: ask("gate")[1]["verdict"] in ("go", "guarded", "stop"), 5)
    names = {one["objective"] for one in ask("status")[1]["objectives"]}
    assert names == {"work-availability", "work-errors", "store-availability", "database-availability"}


def test_the_report_shows_what_is_measured(stage: Stage, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    command = [sys.executable, "-m", "groundwork.cli.main", "report", "lab", "--json", "--to", str(target)]
    environ = {**os.environ, "GROUNDWORK_ROOT": str(stage.root)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not {"fleet", "objectives", "alerts", "certificates"} & set(json.loads(done.stdout)["missing"])
    page = target.read_text()
    for host in ("app", "data"):
        assert re.search(rf"<td[^>]*>{host}</td><td>[0-9.]+</td><td class=\"good\">yes</td>", page), host
    assert "work-availability" in page


@dataclass(frozen=True)
class Drill:
    """A fault, how it is mended, and which alerts tell of it; ``also`` may, everything else must not."""

    host: str
    fault: str
    mend: str
    tells: frozenset[str]
    also: frozenset[str] = frozenset()


def drill(host: str, fault: str, mend: str, tells: str, also: str = "") -> Drill:
    return Drill(host, fault, mend, frozenset(tells.split()), frozenset(also.split()))


def exporter(kind: str) -> tuple[str, str]:
    unit = f"chorus-{kind}.service"
    return f"systemctl stop {unit}", f"systemctl start {unit}"


REDIS, POSTGRESQL = "redis-server@chorus-redis-1", "$(cat /run/postgresql-unit)"
CUT = "ip route add unreachable $(cat /run/other)/32", "ip route del unreachable $(cat /run/other)/32"
HANG = f"systemctl kill -s STOP {AGENT_UNIT}", f"systemctl kill -s CONT {AGENT_UNIT}"
CONFIGURATION = "/etc/groundwork/chorus/observability/prometheus.yml"
BREAK = f"cp -p {CONFIGURATION} /run/kept; echo nonsense >>{CONFIGURATION}; systemctl reload chorus-prometheus"
MEND = f"cp -p /run/kept {CONFIGURATION}; systemctl reload chorus-prometheus"
DRILLS = {
    "unit failed": drill("app", "systemd-run --unit=broken /bin/false", "systemctl reset-failed broken", "UnitFailed"),
    "prober stopped": drill("data", *exporter("blackbox-exporter"), "TargetDown"),
    "configuration refused": drill("data", BREAK, MEND, "ConfigurationRefused"),
    "exporter of a host stopped": drill("app", *exporter("node-exporter"), "HostDown"),
    "requests fail": drill("app", "touch /run/agent-fails", "rm /run/agent-fails", "WorkErrors"),
    "exporter of Redis stopped": drill("data", *exporter("redis-exporter-redis-1"), "StoreAvailability", "TargetDown"),
    "Redis stopped": drill(
        "data", f"systemctl stop {REDIS}", f"systemctl start {REDIS}", "StoreAvailability", "CheckFailed"
    ),
    "PostgreSQL stopped": drill(
        "data", f"systemctl stop {POSTGRESQL}", f"systemctl start {POSTGRESQL}", "DatabaseAvailability", "CheckFailed"
    ),
    "agents not ready": drill(
        "app", "touch /run/agent-fails-unready", "rm /run/agent-fails-unready", "WorkAvailability", "WorkErrors"
    ),
    "agents hang": drill("app", *HANG, "WorkAvailability", "TargetDown WorkErrors"),
    "certificate expired": drill(
        "app", "touch /run/agent-fails-expired", "rm /run/agent-fails-expired", "WorkAvailability", "TargetDown"
    ),
    "host cut off": drill("app", *CUT, "HostDown", "WorkAvailability WorkErrors"),
}  # fmt: skip
LASTING = frozenset({"WorkErrors", "WorkAvailability", "StoreAvailability", "DatabaseAvailability"})
QUICK = ("unit failed", "requests fail")


def carry_out(stage: Stage, name: str, resolving: bool) -> None:
    """Cause a fault: its alert must reach the webhook within two minutes, no other may, and it must be taken back."""
    one = DRILLS[name]
    stage.forget()
    stage.run(one.host, one.fault)

    def names(status: str) -> set[str]:
        return {labels["alertname"] for _, state, labels in stage.told() if state == status}

    took = wait(lambda: one.tells <= names("firing"), 120)
    wrong = names("firing") - one.tells - one.also
    stage.run(one.host, one.mend)
    assert not wrong, f"{name}: {wrong} told, too"
    # A page about a budget stays for as long as its window of 30 minutes sees the fault.
    short = one.tells - LASTING
    after = wait(lambda: short <= names("resolved"), 240) if resolving and short else 0.0
    print(f"{name}: told after {took:.0f} s, taken back after {after:.0f} s")


@pytest.mark.parametrize("name", QUICK)
def test_what_fails_reaches_the_webhook(stage: Stage, name: str) -> None:
    carry_out(stage, name, resolving=False)
    pages = [labels for _, _, labels in stage.told() if labels["alertname"] == "WorkErrors"]
    assert {labels["severity"] for labels in pages} <= {"page"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DRILLS if name not in QUICK])
def test_drills(stage: Stage, name: str) -> None:
    carry_out(stage, name, resolving=True)


def test_nobody_gets_in_without_a_certificate(stage: Stage) -> None:
    site = stage.load()
    for target in (one for one in site.topology.scrape_targets if one.job != "probe"):
        place = f"https://{target.address}:{target.port}/metrics"
        code = "import ssl, sys, urllib.request as r; c = ssl.create_default_context(); c.check_hostname = False; "
        code += "c.verify_mode = ssl.CERT_NONE; print(r.urlopen(sys.argv[1], context=c, timeout=5).status)"
        answer = stage.run(target.host, f"python3 -c {shlex.quote(code)} {place} 2>&1 | tail -1")
        # A request that was sent before the refusal was read can drop the reason with the connection.
        refusals = ("certificate required", "alert", "reset by peer")
        assert any(word in answer.lower() for word in refusals), f"{target.job}: {answer}"
        plain = stage.run(
            target.host, f"python3 -c {shlex.quote(code)} {place.replace('https', 'http')} 2>&1 | tail -1"
        )
        assert plain != "200", f"{target.job} speaks plain HTTP"


def test_a_removed_prometheus_goes_without_a_trace(stage: Stage) -> None:
    stage.manifest["observability"] = {}
    stage.manifest["objectives"] = {}
    assert changed(stage.apply())
    for host in ("app", "data"):
        left = stage.run(
            host, "ls /etc/groundwork/chorus/observability /etc/systemd/system/chorus-*exporter* 2>/dev/null"
        )
        assert left == ""
        assert stage.run(host, "systemctl list-units --no-legend 'chorus-*exporter*' chorus-prometheus\\*") == ""
    assert changed(stage.apply()) == []
    stage.manifest = make_manifest()
