"""Redis behind TLS in its three shapes: one server, a master with a replica, and a cluster of three."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.examples.support.certificates import Authority
from tests.unit.examples.support.servers import Server, find_port, find_program

PASSWORD = "a-password-for-the-tests-only"
WORKER = {"worker": "agent_runtime.agents.worker"}
PREDICTOR = {"predictor": "agent_runtime.chorus.predictor"}


class SecureRedis:
    """Some Redis servers with client certificates required."""

    def __init__(self, folder: Path, authority: Authority, count: int, cluster: bool) -> None:
        program = find_program("redis-server", "redis-server")
        self._cli = find_program("redis-cli", "redis-tools")
        authority.issue("redis")
        self.files = authority.files("redis")
        self.servers = []
        for number in range(count):
            home = folder / f"redis-{number}"
            home.mkdir(parents=True)
            port = find_port()
            # The bus of a cluster has its own port; the usual distance of 10000 may lie outside of what there is.
            extra = f"cluster-enabled yes\ncluster-port {find_port()}\ntls-cluster yes\ncluster-node-timeout 2000\n"
            (home / "redis.conf").write_text(
                f"port 0\ntls-port {port}\nbind 127.0.0.1\ndir {home}\nappendonly yes\ntls-replication yes\n"
                f"tls-cert-file {self.files['certificate']}\ntls-key-file {self.files['key']}\n"
                f"tls-ca-cert-file {self.files['authority']}\ntls-auth-clients yes\n"
                f"user runtime on >{PASSWORD} ~chorus:* +@all -@admin -@dangerous -@scripting +role +cluster|slots\n"
                + (extra if cluster else "")
            )
            self.servers.append(Server([program, str(home / "redis.conf")], port, home / "redis.log"))

    def command(self, number: int, *words: str) -> str:
        files = self.files
        options = ["--tls", "--cert", files["certificate"], "--key", files["key"], "--cacert", files["authority"]]
        where = ["-h", "127.0.0.1", "-p", str(self.servers[number].port)]
        done = subprocess.run([self._cli, *where, *options, *words], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def describe(self, mode: str) -> dict[str, Any]:
        endpoints = [{"host": "data", "address": "127.0.0.1", "port": server.port} for server in self.servers]
        return {"endpoints": endpoints, "mode": mode, "tls": True}

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    found = Authority(tmp_path / "authority")
    found.issue("core")
    return found


@pytest.fixture
def start_redis(tmp_path: Path, authority: Authority) -> Iterator[Any]:
    started: list[SecureRedis] = []

    def start(count: int, cluster: bool = False) -> SecureRedis:
        started.append(SecureRedis(tmp_path, authority, count, cluster))
        return started[-1]

    yield start
    for redis in started:
        redis.stop()


def start_load(process: Any, *arguments: str) -> subprocess.Popen[str]:
    environ = {**process.environ, "GROUNDWORK_INSTANCE_FILE": str(process.instance)}
    command = [sys.executable, "-m", "agent_runtime.load", "--agent", "worker", *arguments]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def test_certificates_are_renewed_under_load(authority: Authority, start_redis: Any, start_runtime: Any) -> None:
    redis = start_redis(1)
    arguments = {"tls": authority.files("core"), "redis": redis.describe("standalone")}
    process = start_runtime("worker", WORKER, redis.servers[0].port, **arguments)
    process.wait_for_message("READY=1")
    load = start_load(process, "--seconds", "8", "--count", "100000", "--rate", "100")
    time.sleep(3)
    authority.issue("core")
    result = json.loads(load.communicate(timeout=60)[0])
    assert "certificates loaded anew" in process.log_path.read_text()
    assert result["acknowledged"] == result["answered"] == result["sent"] > 300
    assert result["lost"] == result["errors"] == 0


def test_writes_follow_the_master(authority: Authority, start_redis: Any, start_runtime: Any) -> None:
    redis = start_redis(2)
    redis.command(0, "REPLICAOF", "127.0.0.1", str(redis.servers[1].port))
    arguments = {"tls": authority.files("core"), "redis": redis.describe("replicated"), "WORK_IDLE_SECONDS": "2"}
    # The first endpoint is the replica.
    process = start_runtime("worker", WORKER, redis.servers[0].port, **arguments)
    process.wait_for_message("READY=1")
    assert json.loads(start_load(process, "--count", "50").communicate(timeout=60)[0])["answered"] == 50
    deadline = time.monotonic() + 10
    while "master_link_status:up" not in redis.command(0, "INFO", "replication"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    load = start_load(process, "--count", "100000", "--seconds", "8", "--rate", "100", "--timeout", "3")
    time.sleep(2)
    # A planned change of roles: the old master refuses writes, the commands are sent to the new one.
    redis.command(0, "REPLICAOF", "NO", "ONE")
    redis.command(1, "REPLICAOF", "127.0.0.1", str(redis.servers[0].port))
    result = json.loads(load.communicate(timeout=60)[0])
    assert result["lost"] == 0
    assert result["answered"] > 300


def test_a_cluster_takes_work_and_scores(authority: Authority, start_redis: Any, start_runtime: Any) -> None:
    redis = start_redis(3, cluster=True)
    addresses = [f"127.0.0.1:{server.port}" for server in redis.servers]
    redis.command(0, "--cluster", "create", *addresses, "--cluster-yes")
    deadline = time.monotonic() + 20
    while any("cluster_state:ok" not in redis.command(number, "CLUSTER", "INFO") for number in range(3)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    agents = {f"worker-{number}": "agent_runtime.agents.worker" for number in range(6)} | WORKER | PREDICTOR
    arguments = {"tls": authority.files("core"), "redis": redis.describe("cluster"), "WORK_RETRY_SECONDS": "0.05"}
    process = start_runtime("worker", agents, redis.servers[0].port, WORKER_FAILURE_SHARE="0.2", **arguments)
    process.wait_for_message("READY=1")
    result = json.loads(start_load(process, "--count", "200").communicate(timeout=60)[0])
    assert (result["answered"], result["lost"]) == (200, 0)
    for number in range(20):
        body = {"agent": "ann", "peer": f"bob-{number}", "kind": "conflict"}
        assert process.call("predictor", "/api/v1/interactions", body)[0] == 201
    assert json.loads(process.call("predictor", "/api/v1/agents/ann")[1])["conflicts"] == 20
    # The agents' streams are spread over the nodes, and each unit of work stands in one slot.
    sizes = [int(redis.command(number, "DBSIZE")) for number in range(3)]
    assert min(sizes) > 0
    # Slots that move meanwhile cost nothing.
    load = start_load(process, "--count", "100000", "--seconds", "6", "--rate", "100")
    time.sleep(2)
    redis.command(
        0, "--cluster", "rebalance", addresses[0], "--cluster-weight", f"{redis.command(0, 'CLUSTER', 'MYID')}=3"
    )
    result = json.loads(load.communicate(timeout=60)[0])
    assert result["lost"] == result["errors"] == 0
    assert result["answered"] > 200
