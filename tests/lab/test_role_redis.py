"""The role redis on real hosts: converges, stays quiet, restarts only when it must, goes without a trace."""

from __future__ import annotations

import random
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from role_stage import RELEASE, RoleStage, changes, failures, role_lab

from groundwork.authority import paths
from groundwork.secrets.value import SecretValue

NAME = f"role-redis-{RELEASE}"
UNIT = "redis-server@chorus-redis-1.service"


class Stage(RoleStage):
    """Redis as chorus has it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, NAME, "chorus", ("pki", "redis"))
        self.reset()

    def reset(self) -> None:
        self.manifest = self.read_manifest()
        self.write()

    @property
    def redis(self) -> dict[str, Any]:
        service: dict[str, Any] = self.manifest["services"]["redis"]
        return service

    def ask(self, host: str, client: str, *commands: str) -> list[str]:
        """What a client of that name is answered; on these throw-away hosts by redis-cli over its input."""
        password = self.site.secret(f"redis_{client}").reveal()
        lines = "\\n".join([f"AUTH {client} {password}", *commands])
        return self.run(host, f"printf '{lines}\\n' | {self.client(host)}").splitlines()[1:]

    def client(self, host: str) -> str:
        """redis-cli with the certificate of the host's root."""
        address = self.site.inventory.host(host).address
        files = f"--cert {paths.certificate('chorus', 'operator')} --key {paths.key('chorus', 'operator')}"
        return f"redis-cli --tls {files} --cacert {paths.bundle('chorus')} -h {address} -p 6379"


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with role_lab(NAME, "chorus"):
        yield Stage(tmp_path_factory.mktemp("project"))


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    """The stage with Redis as chorus declares it."""
    module_stage.reset()
    assert failures(module_stage.apply()) == []
    return module_stage


def test_plan_on_bare_hosts_then_apply_then_nothing_more(module_stage: Stage) -> None:
    planned = module_stage.plan()
    assert failures(planned) == []
    assert len(changes(planned)["data"]) > 8
    assert module_stage.run("data", "ls -d /etc/redis 2>&1").endswith("No such file or directory")
    assert failures(module_stage.apply()) == []
    assert changes(module_stage.plan()) == {"app": [], "data": []}
    assert changes(module_stage.apply()) == {"app": [], "data": []}


def test_data_survives_a_restart_and_a_crash(stage: Stage) -> None:
    assert stage.ask("data", "prediction", "SET chorus:kept yes") == ["OK"]
    # Of several commands: one of a single command is written down without MULTI, and is no transaction any more.
    transaction = ["MULTI", "SET chorus:kept-1 one", "SET chorus:kept-2 two", "EXEC"]
    assert stage.ask("data", "prediction", *transaction) == ["OK", "QUEUED", "QUEUED", "OK", "OK"]
    stage.run("data", f"systemctl restart {UNIT}")
    assert stage.ask("data", "prediction", "GET chorus:kept") == ["yes"]
    assert stage.ask("data", "prediction", "GET chorus:kept-1", "GET chorus:kept-2") == ["one", "two"]
    stage.ask("data", "prediction", "SET chorus:kept twice")
    # Appended data reaches the disk within a second (appendfsync everysec).
    time.sleep(1.5)
    stage.run("data", f"systemctl kill --signal=KILL {UNIT}; sleep 3; systemctl is-active {UNIT}")
    assert stage.ask("data", "prediction", "GET chorus:kept") == ["twice"]


def test_a_new_password_is_read_without_a_restart(stage: Stage) -> None:
    before = stage.started("data", UNIT)
    secrets = stage.site.secrets
    old = secrets.read("redis_simulation")
    secrets.write("redis_simulation", SecretValue("another-password-of-32-characters"))
    result = stage.apply()
    assert failures(result) == []
    assert stage.ask("data", "simulation", "PING") == ["PONG"]
    refused = shlex.quote(f"AUTH simulation {old.reveal()}\n")
    assert stage.run("data", f"printf %s {refused} | {stage.client('data')} 2>&1").startswith("WRONGPASS")
    assert stage.started("data", UNIT) == before
    assert changes(stage.plan())["data"] == []


def test_a_changed_setting_restarts_it_once(stage: Stage) -> None:
    before = stage.started("data", UNIT)
    stage.redis["memory_policy"] = "allkeys-lru"
    assert failures(stage.apply()) == []
    after = stage.started("data", UNIT)
    assert after != before
    assert "maxmemory_policy:allkeys-lru" in stage.ask("data", "prediction", "INFO memory")
    assert changes(stage.apply())["data"] == []
    assert stage.started("data", UNIT) == after


def test_what_redis_refuses_does_not_go_live(stage: Stage) -> None:
    before = stage.run("data", "cat /etc/redis/users-chorus-redis-1.acl | sha256sum")
    stage.redis["users"] = {"tool": {"commands": ["no-such-command"]}}
    result = stage.apply()
    assert [line.partition(":")[0] for line in failures(result)] == ["data"]
    assert stage.run("data", "cat /etc/redis/users-chorus-redis-1.acl | sha256sum") == before
    assert stage.ask("data", "prediction", "PING") == ["PONG"]


def test_hosts_without_a_need_are_not_heard(stage: Stage) -> None:
    probe = "timeout 3 bash -c 'exec 3<>/dev/tcp/data-address/6379 && echo heard'"
    address = stage.site.inventory.host("data").address
    assert stage.run("app", probe.replace("data-address", address)) == "heard"
    for group in stage.manifest["groups"].values():
        group["hosts"] = "data"
    assert failures(stage.apply()) == []
    assert stage.run("app", probe.replace("data-address", address)) == ""


def test_drift_is_mended(stage: Stage) -> None:
    stage.redis["maximum_clients"] = 700
    assert failures(stage.apply()) == []
    stage.run("data", f"echo 'maxclients 11' >> /etc/redis/redis-chorus-redis-1.conf; systemctl stop {UNIT}")
    stage.run("data", f"systemctl disable {UNIT}; rm /usr/local/lib/groundwork/chorus/redis-reload")
    assert len(changes(stage.plan())["data"]) >= 3
    assert failures(stage.apply()) == []
    assert stage.run("data", f"systemctl is-enabled {UNIT}") == "enabled"
    assert "maxclients:700" in stage.ask("data", "prediction", "INFO clients")
    assert changes(stage.plan())["data"] == []


def test_settings_changed_while_it_runs_are_put_back_without_a_restart(stage: Stage) -> None:
    started = stage.run("data", f"systemctl show {UNIT} --property=MainPID")
    password = "/etc/groundwork/chorus/credentials/chorus-redis-1_operator"
    tell = f"{{ echo AUTH _operator $(cat {password}); cat; }} | redis-cli -s /run/redis-chorus-redis-1/redis.sock"
    stage.run("data", f"printf 'CONFIG SET maxmemory 99mb\nCONFIG SET save \"\"\nCONFIG SET appendonly no\n' | {tell}")
    stage.run("data", f"echo 'ACL SETUSER intruder on nopass ~* +@all' | {tell}")
    assert len(changes(stage.plan())["data"]) == 1
    assert failures(stage.apply()) == []
    assert f"maxmemory:{99 << 20}" not in stage.ask("data", "prediction", "INFO memory")
    assert "intruder" not in stage.run("data", f"echo ACL LIST | {tell}")
    assert "aof_enabled:1" in stage.ask("data", "prediction", "INFO persistence")
    assert stage.run("data", f"systemctl show {UNIT} --property=MainPID") == started
    assert changes(stage.plan())["data"] == []


def test_a_killed_run_is_completed_by_the_next(stage: Stage) -> None:
    generator = random.Random(5)
    for number in range(3):
        stage.redis["memory_max"] = f"{300 + number}MiB"
        stage.kill_apply(generator.uniform(1.5, 4.0))
        assert failures(stage.apply()) == []
        assert f"maxmemory:{(300 + number) * 1024**2}" in stage.ask("data", "prediction", "INFO memory")
        assert changes(stage.plan()) == {"app": [], "data": []}


def test_it_moves_and_leaves_only_its_data_behind(stage: Stage) -> None:
    stage.ask("data", "prediction", "SET chorus:kept here")
    stage.redis["hosts"] = "app"
    assert failures(stage.apply()) == []
    assert stage.ask("app", "prediction", "PING") == ["PONG"]
    left = stage.run("data", "ls /etc/redis /etc/systemd/system /etc/sysctl.d /usr/local/lib/groundwork/chorus")
    left += stage.run("data", "ls /etc/groundwork/chorus/credentials /var/lib/groundwork/ledger; ss -Hltn")
    assert "chorus-redis" not in left
    assert ":6379" not in left
    assert "redis-try" not in left
    assert "redis-chorus.json" not in left
    assert stage.run("data", "systemctl is-enabled redis-server.service") == "masked"
    assert "appendonly" in stage.run("data", "ls /var/lib/redis/chorus-redis-1")
    assert changes(stage.plan()) == {"app": [], "data": []}
    stage.redis["hosts"] = "data"
    assert failures(stage.apply()) == []
    assert stage.ask("data", "prediction", "GET chorus:kept") == ["here"]


def test_a_renewed_certificate_is_served_without_a_restart(stage: Stage) -> None:
    before = stage.started("data", UNIT)
    address = stage.site.inventory.host("data").address
    files = f"-cert {paths.certificate('chorus', 'operator')} -key {paths.key('chorus', 'operator')}"
    served = f"echo | openssl s_client -connect {address}:6379 {files} 2>/dev/null | openssl x509 -noout -serial"
    installed = f"openssl x509 -noout -serial -in {paths.certificate('chorus', 'redis-1')}"
    first = stage.run("data", served)
    assert first.startswith("serial=")
    # A client that stays connected meanwhile; were it cut off, its last command would come without a login.
    password = stage.site.secret("redis_prediction").reveal()
    words = f"(echo AUTH prediction {password}; while ! test -e /root/asked; do sleep 0.2; done; echo PING)"
    stage.run("data", f"rm -f /root/asked; ({words} | {stage.client('data')} > /root/answers) > /dev/null 2>&1 &")
    # A certificate that is gone is issued anew.
    stage.run("data", "rm -rf /etc/groundwork/chorus/certificates/redis-1")
    assert failures(stage.apply()) == []
    assert stage.run("data", served) == stage.run("data", installed) != first
    assert stage.run("data", "touch /root/asked; sleep 2; cat /root/answers") == "OK\nPONG"
    assert stage.started("data", UNIT) == before
    assert changes(stage.apply())["data"] == []


def test_a_key_that_does_not_fit_its_certificate_leaves_the_old_one_served(stage: Stage) -> None:
    folder = "/etc/groundwork/chorus/certificates/redis-1/current"
    stage.run(
        "data", f"cp -a {folder}/ /root/kept; rm {folder}/key.pem; cp {paths.key('chorus', 'operator')} {folder}/"
    )
    stage.run("data", f"chown redis {folder}/key.pem")
    assert stage.run("data", f"systemctl reload {UNIT} 2>&1 || echo refused").endswith("refused")
    assert stage.ask("data", "prediction", "PING") == ["PONG"]
    stage.run("data", f"rm {folder}/key.pem; cp -a /root/kept/key.pem {folder}/; rm -r /root/kept")
    assert failures(stage.apply()) == []


def test_a_second_database_in_a_cluster_is_refused_before_anything_changes(stage: Stage) -> None:
    before = stage.started("data", UNIT)
    stage.redis.update(mode="cluster", nodes_per_host=3, databases=2)
    result = stage.apply()
    assert all("a cluster has one database" in line for line in failures(result))
    assert {host.name for host in result.hosts if host.failed} == {"app", "data"}
    assert stage.started("data", UNIT) == before
