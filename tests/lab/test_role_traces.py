"""The role traces on real hosts: a request through three agents on two hosts is one trace in Phoenix.

The whole file is slow: Phoenix and its dependencies are 145 packages, which are collected, sent and installed.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from role_stage import LINKED, RELEASE, ROOT, RoleStage, changes, failures, role_lab, wait_for

from groundwork.authority import paths
from groundwork.lab.plan import read_lab_hosts

pytestmark = pytest.mark.slow
NAME = f"role-traces-{RELEASE}"
# The platform whose lab has two hosts; only its name and hosts are used.
PLATFORM = "chorus"
UNIT = f"{PLATFORM}-traces.service"
PATIENCE = 90
"""Seconds for spans to arrive, or for a log line."""
PORTS = {"front": 8000, "middle": 8001, "back": 8002}
# Prints status and text of one request with the identity of root's own tools, or without any.
ASK = """
import json, ssl, sys, urllib.error, urllib.request as u
url, body, headers, certificate, key, authority = json.loads(sys.argv[1])
context = ssl.create_default_context(cafile=authority)
if certificate:
    context.load_cert_chain(certificate, key)
request = u.Request(url, body.encode() if body else None, {"Content-Type": "application/json", **headers})
try:
    opener = u.build_opener(u.ProxyHandler({}), u.HTTPSHandler(context=context))
    with opener.open(request, timeout=30) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""


class Stage(RoleStage):
    """Three agents on two hosts, and Phoenix on one of them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, NAME, PLATFORM, ("pki", "redis", "agent_runtime", "traces"), (*LINKED, ".cache"))
        hosts = read_lab_hosts(ROOT, PLATFORM)

        def group(name: str, hosts: str) -> dict[str, Any]:
            agents = {name: {"port": PORTS[name], "module": "agent_runtime.agents.worker"}}
            return {"hosts": hosts, "needs": [{"name": "redis", "keys": ["chorus:*"]}], "agents": agents}

        self.manifest = {
            "version": 1,
            "platform": PLATFORM,
            "runtime": {
                "package": {"directory": "../examples/agent_runtime"},
                "requirements": "../examples/agent_runtime/requirements.lock",
                "launcher": "agent_runtime",
                "ready_timeout": "120s",
            },
            "services": {"redis": {"hosts": "data"}},
            "groups": {
                "front": group("front", "app"),
                "middle": group("middle", "data"),
                "back": group("back", "app"),
            },
            "observability": {"traces": {"hosts": "data", "retention": "10d"}},
            "lab": {"hosts": {name: list(host.groups) for name, host in hosts.items()}},
        }

    def ask(self, host: str, url: str, body: str = "", certificate: bool = True, **headers: str) -> tuple[int, str]:
        files = (paths.certificate(PLATFORM, "operator"), paths.key(PLATFORM, "operator")) if certificate else ("", "")
        told = json.dumps([url, body, headers, *files, paths.bundle(PLATFORM)])
        status, text = json.loads(self.run(host, f"python3 -c {shlex.quote(ASK)} {shlex.quote(told)}"))
        return int(status), str(text)

    def phoenix(self, path: str, body: str = "", certificate: bool = True) -> tuple[int, str]:
        """Ask Phoenix from its own host."""
        address = self.site.inventory.host("data").address
        return self.ask("data", f"https://{address}:4318{path}", body, certificate)

    def request(self, trace: str) -> tuple[int, str]:
        """Have front ask middle, and middle ask back, as part of a trace that began elsewhere."""
        url = f"https://{self.site.inventory.host('app').address}:8000/api/v1/echo"
        parent = f"00-{trace}-{secrets.token_hex(8)}-01"
        return self.ask("app", url, json.dumps({"via": ["middle", "back"]}), traceparent=parent)

    def time_requests(self) -> float:
        """Median of the seconds that ten requests take, the way to the host included."""
        durations = []
        for _ in range(10):
            begun = time.monotonic()
            assert self.request(secrets.token_hex(16))[0] == 200
            durations.append(time.monotonic() - begun)
        return sorted(durations)[5]

    def spans(self, trace: str) -> list[dict[str, Any]]:
        """What Phoenix has of a trace."""
        status, text = self.phoenix(f"/v1/projects/{PLATFORM}/spans?limit=1000")
        found = json.loads(text)["data"] if status == 200 else []
        return [one for one in found if one["context"]["trace_id"] == trace]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    (ROOT / ".cache").mkdir(exist_ok=True)
    with role_lab(NAME, PLATFORM):
        stage = Stage(tmp_path_factory.mktemp("project"))
        assert failures(stage.apply()) == []
        yield stage


def test_a_second_run_changes_nothing(stage: Stage) -> None:
    assert changes(stage.plan()) == {"app": [], "data": []}


def test_verification_agrees(stage: Stage) -> None:
    command = [sys.executable, "-m", "pytest", str(ROOT / "tests/verify/test_traces.py"), "--env", "lab", "-q"]
    command += ["-p", "no:cacheprovider", "-n0"]
    environ = {**os.environ, "GROUNDWORK_ROOT": str(stage.root)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    # All of them, on their hosts: ten about Phoenix, and one about the agents of each host.
    assert " 12 passed" in f" {done.stdout.splitlines()[-1]}", done.stdout[-2000:]


def test_a_request_through_three_agents_on_two_hosts_is_one_trace(stage: Stage) -> None:
    trace = secrets.token_hex(16)
    status, text = stage.request(trace)
    assert status == 200, text
    assert json.loads(text)["next"]["next"]["agent"] == "back"
    found = wait_for(lambda: spans if len(spans := stage.spans(trace)) >= 5 else [], PATIENCE)
    # Who did it, on which host, and what it was; each span but the first belongs to another of them.
    known = {one["context"]["span_id"] for one in found}
    told = {(one["attributes"]["agent"], one["attributes"]["service.instance.id"], one["name"]) for one in found}
    assert told == {
        ("front", "app/chorus-front@1", "POST /api/v1/echo"),
        ("front", "app/chorus-front@1", "invoke_agent middle"),
        ("middle", "data/chorus-middle@1", "invoke_agent middle"),
        ("middle", "data/chorus-middle@1", "invoke_agent back"),
        ("back", "app/chorus-back@1", "invoke_agent back"),
    }
    assert sum(one["parent_id"] not in known for one in found) == 1
    assert {one["attributes"]["groundwork.group"] for one in found} == {"front"}
    worked = next(one for one in found if one["attributes"]["agent"] == "back")
    assert worked["attributes"]["gen_ai.operation.name"] == "invoke_agent"


def test_nobody_asks_without_a_certificate(stage: Stage) -> None:
    assert stage.phoenix("/v1/projects")[0] == 200
    assert stage.phoenix("/v1/projects", certificate=False)[0] == 0


def test_agents_go_on_without_phoenix_and_are_seen_again_with_it(stage: Stage) -> None:
    started = stage.started("app", "chorus-front@1.service")
    within = stage.time_requests()
    stage.run("data", f"systemctl stop {UNIT}")
    without = stage.time_requests()
    # Nobody waits for a place that does not answer.
    assert without < 2 * within + 0.5, (within, without)
    said = "journalctl -u chorus-front@1.service -o cat | grep -c 'spans cannot be sent'"
    assert wait_for(lambda: stage.run("app", said) not in ("", "0"), PATIENCE)
    stage.run("data", f"systemctl start {UNIT}")

    def see() -> list[dict[str, Any]]:
        trace = secrets.token_hex(16)
        assert stage.request(trace)[0] == 200
        time.sleep(6)
        return stage.spans(trace)

    assert wait_for(see, PATIENCE)
    assert stage.run("app", "journalctl -u chorus-front@1.service -o cat | grep -c 'spans are sent again'") != "0"
    assert stage.started("app", "chorus-front@1.service") == started


def test_a_changed_retention_is_followed(stage: Stage) -> None:
    stage.manifest["observability"]["traces"]["retention"] = "36h"
    assert failures(stage.apply()) == []
    query = "{defaultProjectTraceRetentionPolicy{rule{... on TraceRetentionRuleMaxDays{maxDays}}}}"
    status, text = stage.phoenix("/graphql", json.dumps({"query": query}))
    assert status == 200
    assert json.loads(text)["data"]["defaultProjectTraceRetentionPolicy"]["rule"]["maxDays"] == 2


def test_where_no_traces_are_declared_phoenix_goes_and_its_data_stays(stage: Stage) -> None:
    del stage.manifest["observability"]["traces"]
    assert failures(stage.apply()) == []
    assert stage.run("data", f"systemctl is-active {UNIT}") == "inactive"
    left = stage.run("data", "ls -d /opt/groundwork/chorus-traces /var/lib/chorus-traces 2>/dev/null")
    assert left == "/var/lib/chorus-traces"
    assert "OTEL_" not in stage.run("app", "systemctl show --property=Environment chorus-front@1.service")
    assert stage.request(secrets.token_hex(16))[0] == 200
