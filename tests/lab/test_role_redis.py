"""The role redis on real hosts: converges, stays quiet, restarts only when it must, goes without a trace."""

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

from groundwork.authority import paths
from groundwork.authority.store import FOLDER
from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.secrets.value import SecretValue
from groundwork.site import load_site

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-redis-{RELEASE}"
DEPLOY = Path("deploys/redis_only.py")
UNIT = "redis-server@chorus-redis-1.service"


class Stage:
    """A lab and a project of its own whose manifest a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in (".lab", "inventories", "group_data", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        (root / "platforms").mkdir()
        (root / "deploys").mkdir()
        lines = ["from groundwork.site import current_site", "from roles.pki.deploy import pki"]
        lines += ["from roles.redis.deploy import redis", "", "pki(current_site())", "redis(current_site())", ""]
        (root / DEPLOY).write_text("\n".join(lines))
        self.manifest: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        self.manifest = yaml.safe_load((ROOT / "platforms/chorus.yaml").read_text())
        self.write()

    def write(self) -> None:
        (self.root / "platforms/chorus.yaml").write_text(yaml.safe_dump(self.manifest))

    @property
    def redis(self) -> dict[str, Any]:
        service: dict[str, Any] = self.manifest["services"]["redis"]
        return service

    def apply(self) -> RunResult:
        self.write()
        ensure_secrets(self.root)
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        self.write()
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def run(self, host: str, command: str, text: str = "") -> str:
        call = [sys.executable, "-m", "groundwork.cli.lab", "exec", "--json", "--name", NAME, host, "--", command]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        return str(json.loads(done.stdout)["stdout"]).strip()

    def ask(self, host: str, client: str, *commands: str) -> list[str]:
        """What a client of that name is answered; on these throw-away hosts by redis-cli over its input."""
        password = load_site("lab", self.root).secret(f"redis_{client}").reveal()
        lines = "\\n".join([f"AUTH {client} {password}", *commands])
        return self.run(host, f"printf '{lines}\\n' | {self.client(host)}").splitlines()[1:]

    def client(self, host: str) -> str:
        """redis-cli with the certificate of the host's root."""
        address = load_site("lab", self.root).inventory.host(host).address
        files = f"--cert {paths.certificate('chorus', 'operator')} --key {paths.key('chorus', 'operator')}"
        return f"redis-cli --tls {files} --cacert {paths.bundle('chorus')} -h {address} -p 6379"

    def started(self, host: str) -> str:
        return self.run(host, f"systemctl show --property=ExecMainStartTimestampMonotonic --value {UNIT}")


def ensure_secrets(root: Path) -> None:
    from groundwork.secrets.declaration import name_declarations

    site = load_site("lab", root)
    site.secrets.initialise()
    site.secrets.ensure(name_declarations(site.topology.secret_declarations))
    if not (site.secrets_folder / FOLDER).exists():
        site.authority.initialise()


def statuses(result: RunResult) -> dict[str, list[str]]:
    """Names of the operations that did not leave their host as it was."""
    quiet = (OperationStatus.UNCHANGED,)
    return {host.name: [op.name for op in host.operations if op.status not in quiet] for host in result.hosts}


def failures(result: RunResult) -> list[str]:
    return [f"{host.name}: {host.reason}" for host in result.hosts if host.failed]


@pytest.fixture(scope="module")
def lab_name() -> Iterator[str]:
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, "chorus", RELEASE, Phases(print))
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
    """The stage with Redis as chorus declares it."""
    module_stage.reset()
    assert failures(module_stage.apply()) == []
    return module_stage


def test_plan_on_bare_hosts_then_apply_then_nothing_more(module_stage: Stage) -> None:
    ensure_secrets(module_stage.root)
    planned = module_stage.plan()
    assert failures(planned) == []
    assert len(statuses(planned)["data"]) > 8
    assert module_stage.run("data", "ls -d /etc/redis 2>&1").endswith("No such file or directory")
    assert failures(module_stage.apply()) == []
    assert statuses(module_stage.plan()) == {"app": [], "data": []}
    assert statuses(module_stage.apply()) == {"app": [], "data": []}


def test_data_survives_a_restart_and_a_crash(stage: Stage) -> None:
    assert stage.ask("data", "prediction", "SET chorus:kept yes") == ["OK"]
    stage.run("data", f"systemctl restart {UNIT}")
    assert stage.ask("data", "prediction", "GET chorus:kept") == ["yes"]
    stage.ask("data", "prediction", "SET chorus:kept twice")
    # Appended data reaches the disk within a second (appendfsync everysec).
    time.sleep(1.5)
    stage.run("data", f"systemctl kill --signal=KILL {UNIT}; sleep 3; systemctl is-active {UNIT}")
    assert stage.ask("data", "prediction", "GET chorus:kept") == ["twice"]


def test_a_new_password_is_read_without_a_restart(stage: Stage) -> None:
    before = stage.started("data")
    secrets = load_site("lab", stage.root).secrets
    old = secrets.read("redis_simulation")
    secrets.write("redis_simulation", SecretValue("another-password-of-32-characters"))
    result = stage.apply()
    assert failures(result) == []
    assert stage.ask("data", "simulation", "PING") == ["PONG"]
    refused = shlex.quote(f"AUTH simulation {old.reveal()}\n")
    assert stage.run("data", f"printf %s {refused} | {stage.client('data')} 2>&1").startswith("WRONGPASS")
    assert stage.started("data") == before
    assert statuses(stage.plan())["data"] == []


def test_a_changed_setting_restarts_it_once(stage: Stage) -> None:
    before = stage.started("data")
    stage.redis["memory_policy"] = "allkeys-lru"
    assert failures(stage.apply()) == []
    after = stage.started("data")
    assert after != before
    assert "maxmemory_policy:allkeys-lru" in stage.ask("data", "prediction", "INFO memory")
    assert statuses(stage.apply())["data"] == []
    assert stage.started("data") == after


def test_what_redis_refuses_does_not_go_live(stage: Stage) -> None:
    before = stage.run("data", "cat /etc/redis/users-chorus-redis-1.acl | sha256sum")
    stage.redis["users"] = {"tool": {"commands": ["no-such-command"]}}
    result = stage.apply()
    assert [line.partition(":")[0] for line in failures(result)] == ["data"]
    assert stage.run("data", "cat /etc/redis/users-chorus-redis-1.acl | sha256sum") == before
    assert stage.ask("data", "prediction", "PING") == ["PONG"]


def test_hosts_without_a_need_are_not_heard(stage: Stage) -> None:
    probe = "timeout 3 bash -c 'exec 3<>/dev/tcp/data-address/6379 && echo heard'"
    address = load_site("lab", stage.root).inventory.host("data").address
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
    assert len(statuses(stage.plan())["data"]) >= 3
    assert failures(stage.apply()) == []
    assert stage.run("data", f"systemctl is-enabled {UNIT}") == "enabled"
    assert "maxclients:700" in stage.ask("data", "prediction", "INFO clients")
    assert statuses(stage.plan())["data"] == []


def test_a_killed_run_is_completed_by_the_next(stage: Stage) -> None:
    generator = random.Random(5)
    code = "import sys; from pathlib import Path; from groundwork.engine import api; "
    code += "api.apply('lab', root=Path(sys.argv[1]), deploys=[Path(sys.argv[2])])"
    for number in range(3):
        stage.redis["memory_max"] = f"{300 + number}MiB"
        stage.write()
        process = subprocess.Popen([sys.executable, "-c", code, stage.root, DEPLOY], cwd=ROOT, start_new_session=True)
        time.sleep(generator.uniform(1.5, 4.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert failures(stage.apply()) == []
        assert f"maxmemory:{(300 + number) * 1024**2}" in stage.ask("data", "prediction", "INFO memory")
        assert statuses(stage.plan()) == {"app": [], "data": []}


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
    assert statuses(stage.plan()) == {"app": [], "data": []}
    stage.redis["hosts"] = "data"
    assert failures(stage.apply()) == []
    assert stage.ask("data", "prediction", "GET chorus:kept") == ["here"]


def test_a_renewed_certificate_is_served_without_a_restart(stage: Stage) -> None:
    before = stage.started("data")
    address = load_site("lab", stage.root).inventory.host("data").address
    files = f"-cert {paths.certificate('chorus', 'operator')} -key {paths.key('chorus', 'operator')}"
    served = f"echo | openssl s_client -connect {address}:6379 {files} 2>/dev/null | openssl x509 -noout -serial"
    installed = f"openssl x509 -noout -serial -in {paths.certificate('chorus', 'redis-1')}"
    first = stage.run("data", served)
    assert first.startswith("serial=")
    # A client that stays connected meanwhile; were it cut off, its last command would come without a login.
    password = load_site("lab", stage.root).secret("redis_prediction").reveal()
    words = f"(echo AUTH prediction {password}; while ! test -e /root/asked; do sleep 0.2; done; echo PING)"
    stage.run("data", f"rm -f /root/asked; ({words} | {stage.client('data')} > /root/answers) > /dev/null 2>&1 &")
    # A certificate that is gone is issued anew.
    stage.run("data", "rm -rf /etc/groundwork/chorus/certificates/redis-1")
    assert failures(stage.apply()) == []
    assert stage.run("data", served) == stage.run("data", installed) != first
    assert stage.run("data", "touch /root/asked; sleep 2; cat /root/answers") == "OK\nPONG"
    assert stage.started("data") == before
    assert statuses(stage.apply())["data"] == []


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
    before = stage.started("data")
    stage.redis.update(mode="cluster", nodes_per_host=3, databases=2)
    result = stage.apply()
    assert all("a cluster has one database" in line for line in failures(result))
    assert {host.name for host in result.hosts if host.failed} == {"app", "data"}
    assert stage.started("data") == before
