"""The role nats on real hosts: a cluster that loses nothing, changes without restarts, goes without a trace."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-nats-{RELEASE}"
DEPLOY = Path("deploys/nats_only.py")
# The platform whose lab has three hosts; only its name and hosts are used.
PLATFORM = "ai-system"
HOSTS = ("main-pc", "pc2", "services")
UNIT = f"{PLATFORM}-nats-1.service"
LOAD = Path(__file__).with_name("nats_load.py").read_text()


def make_manifest() -> dict[str, Any]:
    hosts = yaml.safe_load((ROOT / f"platforms/{PLATFORM}.yaml").read_text())["lab"]["hosts"]
    uses = [{"name": "nats", "publish": ["orders.>"], "subscribe": ["orders.>"]}]
    return {
        "version": 1,
        "platform": PLATFORM,
        "runtime": {"package": {"directory": "../examples/agent_runtime"}, "launcher": "agent_runtime"},
        "services": {
            "nats": {
                "hosts": "servers",
                "mode": "cluster",
                "jetstream": {"memory_max": "64MiB", "file_max": "512MiB"},
                "key_value_buckets": ["configuration"],
            }
        },
        "groups": {
            "sales": {"hosts": "main_pc", "module": "m", "needs": uses, "agents": {"seller": {"port": 8000}}},
            "stock": {"hosts": "pc2", "module": "m", "needs": ["nats"], "agents": {"keeper": {"port": 8100}}},
        },
        "lab": {"hosts": {name: [*groups, "servers"] for name, groups in hosts.items()}},
    }


class Stage:
    """A lab and a project of its own whose manifest a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "inventories", "group_data", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        (root / "platforms").mkdir()
        (root / "deploys").mkdir()
        lines = ["from groundwork.site import current_site", "from roles.nats.deploy import nats"]
        lines += ["from roles.pki.deploy import pki", "", "pki(current_site())", "nats(current_site())", ""]
        (root / DEPLOY).write_text("\n".join(lines))
        self.manifest = make_manifest()

    def write(self) -> None:
        (self.root / f"platforms/{PLATFORM}.yaml").write_text(yaml.safe_dump(self.manifest))

    @property
    def nats(self) -> dict[str, Any]:
        service: dict[str, Any] = self.manifest["services"]["nats"]
        return service

    def apply(self) -> RunResult:
        self.write()
        self.prepare()
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        self.write()
        self.prepare()
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def prepare(self) -> None:
        site = load_site("lab", self.root)
        site.secrets.initialise()
        site.authority.initialise()

    def run(self, host: str, command: str) -> str:
        done = subprocess.run(self.call(host, command), cwd=ROOT, capture_output=True, text=True, timeout=300)
        return str(json.loads(done.stdout)["stdout"]).strip()

    def call(self, host: str, command: str) -> list[str]:
        return [sys.executable, "-m", "groundwork.cli.lab", "exec", "--json", "--name", NAME, host, "--", command]

    def started(self) -> list[str]:
        command = f"systemctl show --property=ExecMainStartTimestampMonotonic --value {UNIT}"
        return [self.run(host, command) for host in HOSTS]

    def monitor(self, host: str, path: str) -> dict[str, Any]:
        code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8222/{path}').read().decode())"
        return dict(json.loads(self.run(host, f"python3 -c {shlex.quote(code)}") or "{}"))

    def find_leader(self, bucket: str = "configuration") -> str:
        """The host that leads the bucket's stream."""
        account = self.monitor(HOSTS[0], "jsz?streams=true&config=true")["account_details"][0]
        leader = next(s["cluster"]["leader"] for s in account["stream_detail"] if s["name"] == f"KV_{bucket}")
        return str(leader).removeprefix(f"{PLATFORM}-")

    def load(self) -> subprocess.Popen[str]:
        """Start writing to the bucket from an agent's host, and return once it is under way; ``finish`` ends it."""
        site = load_site("lab", self.root)
        folder = f"/etc/groundwork/{PLATFORM}"
        unit = f"{PLATFORM}-seller@1"
        settings = {
            "addresses": [site.inventory.host(name).address for name in HOSTS],
            "port": 4222,
            "seconds": 240,
            "stop": "/run/nats-stop",
            "started": "/run/nats-load",
            "authority": f"{folder}/authority/bundle.pem",
            "certificate": f"{folder}/certificates/{unit}/current/certificate.pem",
            "key": f"{folder}/certificates/{unit}/current/key.pem",
        }
        command = (
            f"rm -f /run/nats-load /run/nats-stop; python3 -c {shlex.quote(LOAD)} {shlex.quote(json.dumps(settings))}"
        )
        process = subprocess.Popen(self.call("main-pc", command), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        while self.run("main-pc", "ls /run/nats-load 2>&1") != "/run/nats-load":
            assert process.poll() is None
        return process


def finish(stage: Stage, process: subprocess.Popen[str]) -> dict[str, Any]:
    """End the load and return what it found; it must have been under way until now."""
    assert process.poll() is None
    stage.run("main-pc", "touch /run/nats-stop")
    output, _ = process.communicate(timeout=300)
    answer = json.loads(output)
    assert answer["stdout"], answer
    result = dict(json.loads(answer["stdout"]))
    print(result)
    return result


def statuses(result: RunResult) -> dict[str, list[str]]:
    """Names of the operations that did not leave their host as it was."""
    quiet = (OperationStatus.UNCHANGED,)
    return {host.name: [op.name for op in host.operations if op.status not in quiet] for host in result.hosts}


def failures(result: RunResult) -> list[str]:
    return [f"{host.name}: {host.reason}" for host in result.hosts if host.failed]


QUIET: dict[str, list[str]] = {name: [] for name in HOSTS}


@pytest.fixture(scope="module")
def lab_name() -> Iterator[str]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, PLATFORM, RELEASE, Phases(print))
    # A group that all three hosts are in; no lab's manifest has one.
    path = ROOT / ".lab" / NAME / "inventory.json"
    inventory = json.loads(path.read_text())
    for host in inventory["hosts"]:
        host["groups"] = sorted({*host["groups"], "servers"})
    path.write_text(json.dumps(inventory))
    yield NAME
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


@pytest.fixture(scope="module")
def module_stage(lab_name: str, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("project"))


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    """The stage with the cluster as ``make_manifest`` declares it."""
    module_stage.manifest = make_manifest()
    assert failures(module_stage.apply()) == []
    return module_stage


def test_plan_on_bare_hosts_then_apply_then_nothing_more(module_stage: Stage) -> None:
    planned = module_stage.plan()
    assert failures(planned) == []
    assert all(len(names) > 8 for names in statuses(planned).values())
    assert failures(module_stage.apply()) == []
    assert statuses(module_stage.apply()) == QUIET
    assert statuses(module_stage.plan()) == QUIET


def test_the_cluster_is_whole_and_keeps_three_copies(stage: Stage) -> None:
    for host in HOSTS:
        assert stage.monitor(host, "healthz")["status"] == "ok"
        routes = stage.monitor(host, "routez")["routes"]
        assert {route["remote_name"] for route in routes} == {f"{PLATFORM}-{n}" for n in HOSTS if n != host}
    account = stage.monitor(stage.find_leader(), "jsz?streams=true&config=true")["account_details"][0]
    assert [s["config"]["num_replicas"] for s in account["stream_detail"]] == [3]


def test_agents_cannot_become_members(stage: Stage) -> None:
    site = load_site("lab", stage.root)
    folder = f"/etc/groundwork/{PLATFORM}"
    address = site.inventory.host("pc2").address
    settings = "server_name: intruder\\nport: 14222\\ncluster {{ name: {0}-nats, port: 16222\\n "
    settings += "routes: [nats-route://{1}:6222]\\n tls {{ cert_file: {2}/certificates/{3}/current/certificate.pem\\n "
    settings += "key_file: {2}/certificates/{3}/current/key.pem\\n ca_file: {2}/authority/bundle.pem }} }}\\n"
    for unit, allowed in ((f"{PLATFORM}-seller@1", False), ("operator", False), ("nats-1", True)):
        text = settings.format(PLATFORM, address, folder, unit)
        start = f"printf '{text}' > /run/intruder.conf; timeout 4 nats-server -c /run/intruder.conf 2>&1"
        log = stage.run("main-pc", f"{start}; rm /run/intruder.conf")
        assert "Route connection created" in log, log
        # The servers' own certificate is let in, so it is the certificate that is refused, not the attempt.
        assert ("Authorization Violation" in log) is not allowed, log


def test_no_acknowledged_message_is_lost_with_the_leader(stage: Stage) -> None:
    leader = stage.find_leader()
    load = stage.load()
    time.sleep(2)
    # It stays away until the end, so that the others have to take over.
    stage.run(leader, f"systemctl kill --signal=KILL {UNIT}; systemctl stop {UNIT}")
    assert stage.run(leader, f"systemctl is-active {UNIT}") != "active"
    time.sleep(12)
    result = finish(stage, load)
    assert result["lost"] == []
    assert result["acknowledged"] > 100
    # An election takes four to nine seconds without a heartbeat (server/raft.go, minElectionTimeout and max).
    assert result["longest"] < 12
    assert failures(stage.apply()) == []
    assert stage.monitor(leader, "healthz")["status"] == "ok"


def test_a_restart_of_every_member_goes_one_by_one_and_loses_nothing(stage: Stage) -> None:
    before = stage.started()
    load = stage.load()
    stage.nats["jetstream"]["file_max"] = "500MiB"
    assert failures(stage.apply()) == []
    after = stage.started()
    assert all(old != new for old, new in zip(before, after, strict=True))
    result = finish(stage, load)
    assert result["lost"] == []
    assert result["longest"] < 12
    assert statuses(stage.apply()) == QUIET
    assert stage.started() == after


def test_users_come_and_go_without_a_restart(stage: Stage) -> None:
    before = stage.started()
    stage.manifest["groups"]["stock"]["needs"] = []
    assert failures(stage.apply()) == []
    users = stage.run("pc2", f"grep -c keeper@1 /etc/groundwork/{PLATFORM}/nats/clients-1.conf")
    assert users == "0"
    assert stage.started() == before
    assert statuses(stage.apply()) == QUIET


def test_new_certificates_are_taken_up_without_a_restart(stage: Stage) -> None:
    before = stage.started()
    address = load_site("lab", stage.root).inventory.host("pc2").address
    code = "import socket, ssl, sys; raw = socket.create_connection((sys.argv[1], 4222), 5); raw.makefile('rb', "
    code += "buffering=0).readline(); c = ssl.create_default_context(cafile=sys.argv[2]); "
    code += "print(c.wrap_socket(raw, server_hostname=sys.argv[1]).getpeercert()['serialNumber'])"
    folder = f"/etc/groundwork/{PLATFORM}"
    ask = f"python3 -c {shlex.quote(code)} {address} {folder}/authority/bundle.pem"
    old = stage.run("pc2", ask)
    stage.run("pc2", f"rm -rf {folder}/certificates/nats-1")
    assert failures(stage.apply()) == []
    new = stage.run("pc2", ask)
    assert old and new and old != new
    assert stage.started() == before
    assert statuses(stage.apply()) == QUIET


def test_a_bucket_that_is_declared_no_more_keeps_its_data(stage: Stage) -> None:
    stage.nats["key_value_buckets"] = ["discovery"]
    assert failures(stage.apply()) == []
    account = stage.monitor(HOSTS[0], "jsz?streams=true")["account_details"][0]
    assert {s["name"] for s in account["stream_detail"]} == {"KV_configuration", "KV_discovery"}
    rights = stage.run("pc2", f"grep -c KV_configuration /etc/groundwork/{PLATFORM}/nats/clients-1.conf")
    assert rights == "0"
    assert statuses(stage.apply()) == QUIET


def test_drift_is_mended(stage: Stage) -> None:
    folder = f"/etc/groundwork/{PLATFORM}/nats"
    stage.run("pc2", f"echo 'authorization {{ token: t }}' > {folder}/clients-1.conf; systemctl stop {UNIT}")
    stage.run("services", f"systemctl disable {UNIT}; rm /usr/local/lib/groundwork/{PLATFORM}/nats-admin")
    assert failures(stage.apply()) == []
    assert stage.run("services", f"systemctl is-enabled {UNIT}") == "enabled"
    assert stage.monitor("pc2", "healthz")["status"] == "ok"
    assert statuses(stage.plan()) == QUIET


def test_a_killed_run_is_completed_by_the_next(stage: Stage) -> None:
    generator = random.Random(5)
    code = "import sys; from pathlib import Path; from groundwork.engine import api; "
    code += "api.apply('lab', root=Path(sys.argv[1]), deploys=[Path(sys.argv[2])])"
    for number in range(2):
        stage.nats["maximum_payload"] = 1_000_000 + number
        stage.write()
        process = subprocess.Popen([sys.executable, "-c", code, stage.root, DEPLOY], cwd=ROOT, start_new_session=True)
        time.sleep(generator.uniform(4.0, 9.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert failures(stage.apply()) == []
        for host in HOSTS:
            assert stage.monitor(host, "varz")["max_payload"] == 1_000_000 + number
        assert statuses(stage.plan()) == QUIET


def test_it_goes_and_leaves_only_its_data_behind(stage: Stage) -> None:
    del stage.manifest["services"]["nats"]
    for group in stage.manifest["groups"].values():
        group["needs"] = []
    assert failures(stage.apply()) == []
    for host in HOSTS:
        left = stage.run(
            host, f"ls /etc/systemd/system /usr/local/lib/groundwork/{PLATFORM} /var/lib/groundwork/ledger"
        )
        left += stage.run(host, f"ls /etc/groundwork/{PLATFORM}; ss -Hltn")
        assert "nats-1" not in left
        assert "nats-admin" not in left
        assert f"nats-{PLATFORM}.json" not in left
        assert ":4222" not in left
        assert stage.run(host, "systemctl is-enabled nats-server.service") == "masked"
        assert "jetstream" in stage.run(host, f"ls /var/lib/nats/{PLATFORM}-nats-1")
    assert statuses(stage.plan()) == QUIET
