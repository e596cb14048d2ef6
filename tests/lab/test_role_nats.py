"""The role nats on real hosts: a cluster that loses nothing, changes without restarts, goes without a trace."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from role_stage import RELEASE, ROOT, RoleStage, changes, failures, role_lab

from groundwork.lab.plan import read_lab_hosts

NAME = f"role-nats-{RELEASE}"
# The platform whose lab has three hosts; only its name and hosts are used.
PLATFORM = "ai-system"
HOSTS = ("main-pc", "pc2", "services")
UNIT = f"{PLATFORM}-nats-1.service"
LOAD = Path(__file__).with_name("nats_load.py").read_text()


def make_manifest() -> dict[str, Any]:
    hosts = read_lab_hosts(ROOT, PLATFORM)
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
        "lab": {"hosts": {name: [*host.groups, "servers"] for name, host in hosts.items()}},
    }


class Stage(RoleStage):
    """NATS as a cluster of three."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, NAME, PLATFORM, ("pki", "nats"))
        self.manifest = make_manifest()

    @property
    def nats(self) -> dict[str, Any]:
        service: dict[str, Any] = self.manifest["services"]["nats"]
        return service

    def all_started(self) -> list[str]:
        return [self.started(host, UNIT) for host in HOSTS]

    def monitor(self, host: str, path: str) -> dict[str, Any]:
        code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8222/{path}').read().decode())"
        return dict(json.loads(self.run(host, f"python3 -c {shlex.quote(code)}") or "{}"))

    def wait_healthy(self, host: str) -> None:
        """A member that comes back answers at once, and calls itself healthy when it has caught up with the others."""
        end = time.monotonic() + 120
        while self.monitor(host, "healthz").get("status") != "ok":
            assert time.monotonic() < end, self.run(host, f"journalctl -qu {UNIT} -n 30")
            time.sleep(0.5)

    def find_leader(self, bucket: str = "configuration") -> str:
        """The host that leads the bucket's stream."""
        account = self.monitor(HOSTS[0], "jsz?streams=true&config=true")["account_details"][0]
        leader = next(s["cluster"]["leader"] for s in account["stream_detail"] if s["name"] == f"KV_{bucket}")
        return str(leader).removeprefix(f"{PLATFORM}-")

    def load(self) -> subprocess.Popen[str]:
        """Start writing to the bucket from an agent's host, and return once it is under way; ``finish`` ends it."""
        site = self.site
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


QUIET: dict[str, list[str]] = {name: [] for name in HOSTS}


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with role_lab(NAME, PLATFORM):
        # A group that all three hosts are in; no lab's manifest has one.
        path = ROOT / ".lab" / NAME / "inventory.json"
        inventory = json.loads(path.read_text())
        for host in inventory["hosts"]:
            host["groups"] = sorted({*host["groups"], "servers"})
        path.write_text(json.dumps(inventory))
        yield Stage(tmp_path_factory.mktemp("project"))


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    """The stage with the cluster as ``make_manifest`` declares it."""
    module_stage.manifest = make_manifest()
    assert failures(module_stage.apply()) == []
    return module_stage


def test_plan_on_bare_hosts_then_apply_then_nothing_more(module_stage: Stage) -> None:
    planned = module_stage.plan()
    assert failures(planned) == []
    assert all(len(names) > 8 for names in changes(planned).values())
    assert failures(module_stage.apply()) == []
    assert changes(module_stage.apply()) == QUIET
    assert changes(module_stage.plan()) == QUIET


def test_the_cluster_is_whole_and_keeps_three_copies(stage: Stage) -> None:
    for host in HOSTS:
        stage.wait_healthy(host)
        routes = stage.monitor(host, "routez")["routes"]
        assert {route["remote_name"] for route in routes} == {f"{PLATFORM}-{n}" for n in HOSTS if n != host}
    account = stage.monitor(stage.find_leader(), "jsz?streams=true&config=true")["account_details"][0]
    assert [s["config"]["num_replicas"] for s in account["stream_detail"]] == [3]


def test_agents_cannot_become_members(stage: Stage) -> None:
    site = stage.site
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
    stage.wait_healthy(leader)


def test_a_restart_of_every_member_goes_one_by_one_and_loses_nothing(stage: Stage) -> None:
    before = stage.all_started()
    load = stage.load()
    stage.nats["jetstream"]["file_max"] = "500MiB"
    assert failures(stage.apply()) == []
    after = stage.all_started()
    assert all(old != new for old, new in zip(before, after, strict=True))
    result = finish(stage, load)
    assert result["lost"] == []
    assert result["longest"] < 12
    assert changes(stage.apply()) == QUIET
    assert stage.all_started() == after


def test_users_come_and_go_without_a_restart(stage: Stage) -> None:
    before = stage.all_started()
    stage.manifest["groups"]["stock"]["needs"] = []
    assert failures(stage.apply()) == []
    users = stage.run("pc2", f"grep -c keeper@1 /etc/groundwork/{PLATFORM}/nats/clients-1.conf")
    assert users == "0"
    assert stage.all_started() == before
    assert changes(stage.apply()) == QUIET


def test_new_certificates_are_taken_up_without_a_restart(stage: Stage) -> None:
    before = stage.all_started()
    address = stage.site.inventory.host("pc2").address
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
    assert stage.all_started() == before
    assert changes(stage.apply()) == QUIET


def test_a_bucket_that_is_declared_no_more_keeps_its_data(stage: Stage) -> None:
    stage.nats["key_value_buckets"] = ["discovery"]
    assert failures(stage.apply()) == []
    account = stage.monitor(HOSTS[0], "jsz?streams=true")["account_details"][0]
    assert {s["name"] for s in account["stream_detail"]} == {"KV_configuration", "KV_discovery"}
    rights = stage.run("pc2", f"grep -c KV_configuration /etc/groundwork/{PLATFORM}/nats/clients-1.conf")
    assert rights == "0"
    assert changes(stage.apply()) == QUIET


def test_drift_is_mended(stage: Stage) -> None:
    folder = f"/etc/groundwork/{PLATFORM}/nats"
    stage.run("pc2", f"echo 'authorization {{ token: t }}' > {folder}/clients-1.conf; systemctl stop {UNIT}")
    stage.run("services", f"systemctl disable {UNIT}; rm /usr/local/lib/groundwork/{PLATFORM}/nats-admin")
    assert failures(stage.apply()) == []
    assert stage.run("services", f"systemctl is-enabled {UNIT}") == "enabled"
    stage.wait_healthy("pc2")
    assert changes(stage.plan()) == QUIET


def test_a_killed_run_is_completed_by_the_next(stage: Stage) -> None:
    generator = random.Random(5)
    for number in range(2):
        stage.nats["maximum_payload"] = 1_000_000 + number
        stage.kill_apply(generator.uniform(4.0, 9.0))
        assert failures(stage.apply()) == []
        for host in HOSTS:
            assert stage.monitor(host, "varz")["max_payload"] == 1_000_000 + number
        assert changes(stage.plan()) == QUIET


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
    assert changes(stage.plan()) == QUIET
