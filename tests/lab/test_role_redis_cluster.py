"""Redis as a cluster and as a master with replicas, several servers per host, on real hosts."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.authority import paths
from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.secrets.declaration import name_declarations
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = os.environ.get("GROUNDWORK_TEST_LAB") or f"redis-cluster-{RELEASE}"
DEPLOY = Path("deploys/redis_only.py")
LINES = """from groundwork.site import current_site
from roles.pki.deploy import pki
from roles.redis.deploy import redis

pki(current_site())
redis(current_site())
"""
INVENTORY = """from groundwork.lab.inventory import load_groups

groups = load_groups()
groups["both"] = groups["app"] + groups["data"]
globals().update(groups)
"""

# Writes and reads keys of the group prediction for a while, following redirections; prints what happened.
LOAD = r"""
import binascii, json, socket, ssl, sys, time
wanted = json.loads(sys.stdin.readline())
context = ssl.create_default_context(cafile=wanted["authority"])
context.load_cert_chain(wanted["certificate"], wanted["key"])
streams, slots = {}, {}
def connect(place):
    if place not in streams:
        plain = socket.create_connection(place, 2)
        stream = context.wrap_socket(plain, server_hostname=place[0])
        streams[place] = (stream, stream.makefile("rb"))
        say(place, "AUTH", "prediction", wanted["password"])
    return streams[place]
def say(place, *words):
    stream, answers = connect(place)
    parts = [str(word).encode() for word in words]
    stream.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
    line = answers.readline()
    if not line:
        raise OSError("closed")
    if line[:1] == b"$" and line[1:3] != b"-1":
        return answers.read(int(line[1:]) + 2)[:-2].decode()
    return line[:-2].decode()
def ask(key, *words):
    slot = binascii.crc_hqx(key.encode(), 0) % 16384
    begin, place, turn = time.monotonic(), slots.get(slot), 0
    while time.monotonic() - begin < 30:
        turn += 1
        place = place or tuple(wanted["places"][turn % len(wanted["places"])])
        try:
            answer = say(place, *words)
            if answer.startswith("-ASK "):
                target = answer.split()[2].rsplit(":", 1)
                other = (target[0], int(target[1]))
                say(other, "ASKING")
                answer = say(other, *words)
        except OSError:
            streams.pop(place, None)
            slots.clear()
            place = None
            time.sleep(0.05)
            continue
        if answer.startswith("-MOVED "):
            host, port = answer.split()[2].rsplit(":", 1)
            place = slots[slot] = (host, int(port))
            continue
        if answer.startswith(("-CLUSTERDOWN", "-TRYAGAIN", "-LOADING", "-READONLY", "-MASTERDOWN")):
            place = None
            time.sleep(0.05)
            continue
        return answer
    return "-TIMEOUT"
written, errors, longest, number, end = {}, [], 0.0, 0, time.monotonic() + wanted["seconds"]
while time.monotonic() < end:
    key = "chorus:load:%d" % (number % 2000)
    begin = time.monotonic()
    answer = ask(key, "SET", key, number)
    if answer == "+OK":
        written[key] = str(number)
    else:
        errors.append(answer)
    longest = max(longest, time.monotonic() - begin)
    number += 1
    time.sleep(wanted["pause"])
lost = [key for key, value in written.items() if ask(key, "GET", key) != value]
print(json.dumps({"writes": number, "errors": errors, "lost": lost, "longest": round(longest, 2)}))
"""


class Stage:
    """A lab and a project of its own whose manifest a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "group_data", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        (root / "platforms").mkdir()
        (root / "deploys").mkdir()
        (root / DEPLOY).write_text(LINES)
        (root / "inventories").mkdir()
        (root / "inventories/lab.py").write_text(INVENTORY)
        self.manifest: dict[str, Any] = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.manifest["lab"]["hosts"] = {"app": ["app", "both"], "data": ["data", "both"]}

    def declare(self, **service: Any) -> None:
        redis = self.manifest["services"]["redis"]
        redis.update({"memory_max": "64MiB", "port": 7001, **service})
        (self.root / "platforms/chorus.yaml").write_text(yaml.safe_dump(self.manifest))
        site = load_site("lab", self.root)
        site.secrets.initialise()
        site.secrets.ensure(name_declarations(site.topology.secret_declarations))

    def apply(self) -> RunResult:
        result = api.apply("lab", root=self.root, deploys=[DEPLOY])
        assert [f"{host.name}: {host.reason}" for host in result.hosts if host.failed] == []
        return result

    def changes(self) -> list[str]:
        result = api.apply("lab", root=self.root, deploys=[DEPLOY])
        quiet = (OperationStatus.UNCHANGED,)
        return [f"{h.name}: {op.name}" for h in result.hosts for op in h.operations if op.status not in quiet]

    def start(self, host: str, command: str, text: str = "") -> subprocess.Popen[str]:
        call = [sys.executable, "-m", "groundwork.cli.lab", "exec", "--json", "--name", NAME, host, "--", command]
        return subprocess.Popen(call, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def run(self, host: str, command: str) -> str:
        process = self.start(host, command)
        output, _ = process.communicate(timeout=180)
        return str(json.loads(output)["stdout"]).strip()

    def helper(self, mode: str, *words: str, host: str = "data") -> str:
        settings = "/etc/groundwork/chorus/redis-redis.json"
        call = f"PYTHONPATH=/usr/local/lib/groundwork/chorus python3 -B -m redis_nodes {settings} {mode}"
        return self.run(host, f"{call} {shlex.join(words)} 2>&1")

    def load(self, seconds: float, pause: float = 0.002) -> subprocess.Popen[str]:
        """Begin to write from the agents' host with the certificate of its root."""
        site = load_site("lab", self.root)
        nodes = [node for node in site.topology.nodes if node.kind == "redis"]
        wanted = {
            "authority": paths.bundle("chorus"),
            "certificate": paths.certificate("chorus", "operator"),
            "key": paths.key("chorus", "operator"),
            "password": site.secret("redis_prediction").reveal(),
            "places": [[node.address, node.port] for node in nodes],
            "seconds": seconds,
            "pause": pause,
        }
        return self.start("app", f"printf '%s\\n' {shlex.quote(json.dumps(wanted))} | python3 -c {shlex.quote(LOAD)}")

    def result(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        output, _ = process.communicate(timeout=300)
        found: dict[str, Any] = json.loads(json.loads(output)["stdout"])
        print(found)
        return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
    stage = Stage(tmp_path_factory.mktemp("project"))
    stage.declare(mode="cluster", hosts="data", nodes_per_host=6, replicas_per_master=1)
    site = load_site("lab", stage.root)
    if not (site.secrets_folder / "authority").exists():
        site.authority.initialise()
    yield stage
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)


def masters(stage: Stage) -> dict[str, int]:
    """Slots of each master by its place."""
    found = re.findall(r"^(\S+) master, (\d+) of", stage.helper("cluster", "status"), re.MULTILINE)
    return {place: int(slots) for place, slots in found}


def test_six_servers_become_a_cluster_once(stage: Stage) -> None:
    stage.apply()
    first = stage.helper("cluster", "status")
    assert first.count("replica of") == 3
    assert sorted(masters(stage).values()) == [5461, 5461, 5462]
    assert stage.changes() == []
    assert stage.helper("cluster", "status") == first


def test_a_killed_master_is_replaced_and_no_acknowledged_write_is_lost(stage: Stage) -> None:
    before = masters(stage)
    victim = next(iter(before))
    unit = f"redis-server@chorus-redis-{int(victim.rpartition(':')[2]) - 7000}"
    load = stage.load(25)
    time.sleep(5)
    # Masked for the time, or systemd would have it back before the others miss it.
    stage.run("data", f"systemctl mask --runtime {unit}; systemctl kill --signal=KILL {unit}")
    found = stage.result(load)
    assert found["errors"] == []
    assert found["lost"] == []
    assert found["longest"] < 15
    assert victim not in masters(stage)
    stage.run("data", f"systemctl unmask --runtime {unit}; systemctl start {unit}")
    stage.apply()
    assert len(masters(stage)) == 3
    assert stage.helper("cluster", "status").count("replica of") == 3
    assert stage.changes() == []


def test_servers_join_and_leave_under_load_without_losing_a_key(stage: Stage) -> None:
    load = stage.load(120, pause=0.01)
    stage.declare(nodes_per_host=8)
    begin = time.monotonic()
    stage.apply()
    print(f"join: {time.monotonic() - begin:.1f} s")
    assert sorted(masters(stage).values()) == [4096] * 4
    stage.declare(nodes_per_host=6)
    begin = time.monotonic()
    stage.apply()
    print(f"leave: {time.monotonic() - begin:.1f} s")
    assert sorted(masters(stage).values()) == [5461, 5461, 5462]
    found = stage.result(load)
    assert found["errors"] == []
    assert found["lost"] == []
    assert stage.run("data", "ss -Hltn | grep -c ':700[78]'") == "0"
    assert stage.changes() == []


def test_a_lost_server_is_made_anew_and_rejoins(stage: Stage) -> None:
    unit = "redis-server@chorus-redis-2"
    stage.run("data", f"systemctl mask --runtime {unit}; systemctl kill --signal=KILL {unit}; sleep 12")
    stage.run("data", "rm -rf /var/lib/redis/chorus-redis-2")
    stage.run("data", f"systemctl unmask --runtime {unit}")
    stage.apply()
    status = stage.helper("cluster", "status")
    assert status.count("replica of") == 3
    assert sorted(masters(stage).values()) == [5461, 5461, 5462]
    assert stage.changes() == []


def test_a_cluster_on_two_hosts_has_replicas_on_the_other(stage: Stage) -> None:
    stage.run("data", "systemctl stop 'redis-server@*'; rm -rf /var/lib/redis/chorus-redis-*")
    for group in stage.manifest["groups"].values():
        group["hosts"] = "app"
    stage.declare(mode="cluster", hosts="both", nodes_per_host=3)
    stage.apply()
    status = stage.helper("cluster", "status")
    for own, master in re.findall(r"^(\S+):\d+ replica of (\S+):\d+", status, re.MULTILINE):
        assert own != master
    assert len(masters(stage)) == 3
    assert stage.changes() == []


def test_replicas_follow_and_a_second_apply_keeps_the_new_master(stage: Stage) -> None:
    for host in ("app", "data"):
        stage.run(
            host, "systemctl stop 'redis-server@*'; rm -rf /var/lib/redis/chorus-redis-* /var/lib/groundwork/redis/*"
        )
    stage.declare(mode="replicated", hosts="both", nodes_per_host=1, replicas_per_master=0)
    stage.apply()
    site = load_site("lab", stage.root)
    first, second = [f"{node.address}:{node.port}" for node in site.topology.nodes if node.kind == "redis"]
    assert f"{second} ('slave', '{first}')" in stage.helper("replicated", "status")
    assert stage.changes() == []
    load = stage.load(20)
    time.sleep(4)
    told = stage.helper("replicated", "promote", second)
    print(told)
    found = stage.result(load)
    assert found["lost"] == []
    assert f"{first} ('slave', '{second}')" in stage.helper("replicated", "status")
    assert stage.changes() == []
    stage.run("app", "systemctl restart 'redis-server@*'")
    stage.run("data", "systemctl restart 'redis-server@*'; sleep 3")
    assert stage.helper("replicated", "status").count("master") == 1
