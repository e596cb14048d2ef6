"""The role consul on real hosts with a real Consul: a cluster of three, from a repository that this test signs."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.artifacts.needs import fetch_all
from groundwork.artifacts.store import open_store
from groundwork.engine import api
from groundwork.engine.results import OperationStatus, RunResult
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.plan import read_lab_hosts
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host
from groundwork.secrets.declaration import name_declarations
from groundwork.secrets.value import SecretValue
from groundwork.site import load_site
from tests.real_consul import VERSION, NoConsulError, drop_dependency, fetch_consul
from tests.signed_repository import Keyring, SignedRepository

ROOT = Path(__file__).resolve().parents[2]
RELEASE = os.environ.get("GROUNDWORK_TEST_RELEASE") or "trixie"
NAME = f"role-consul-{RELEASE}"
DEPLOY = Path("deploys/consul_only.py")
# The platform whose lab has three hosts; only its name and hosts are used.
PLATFORM = "ai-system"
HOSTS = ("main-pc", "pc2", "services")
UNIT = f"{PLATFORM}-consul-1.service"
DEPLOYED = """
from groundwork.site import current_site
from roles.artifacts.deploy import artifacts
from roles.consul.deploy import consul
from roles.pki.deploy import pki

site = current_site()
pki(site)
artifacts(site)
consul(site)
"""
# Writes numbered keys until a file appears, trying each again until it is acknowledged; then reads all of them back.
WRITER = """
import base64, json, os, ssl, sys, time, urllib.request
wanted = json.loads(base64.b64decode(sys.argv[1]))
token = open(wanted["token"]).read().strip()
context = ssl.create_default_context(cafile=wanted["authority"])
context.load_cert_chain(wanted["certificate"], wanted["key"])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
def ask(method, path, data=None):
    for address in wanted["addresses"]:
        try:
            url = f"https://{address}:{wanted['port']}/v1/{path}"
            request = urllib.request.Request(url, data, {"X-Consul-Token": token}, method=method)
            return opener.open(request, timeout=5).read()
        except OSError:
            continue
    return None
number, longest = 0, 0.0
while not os.path.exists(wanted["stop"]):
    started = time.monotonic()
    while ask("PUT", f"kv/{wanted['prefix']}/{number}", str(number).encode()) != b"true":
        time.sleep(0.1)
    longest = max(longest, time.monotonic() - started)
    number += 1
    open(wanted["started"], "w").write(str(number))
    time.sleep(0.02)
lost = [n for n in range(number) if ask("GET", f"kv/{wanted['prefix']}/{n}?raw") != str(n).encode()]
print(json.dumps({"written": number, "lost": lost, "longest": round(longest, 2)}))
"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Stage:
    """A lab and a project of its own whose manifest a test may change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.web = root / "web"
        for name in (".lab", "inventories", "group_data", "examples", "config.py"):
            (root / name).symlink_to(ROOT / name)
        for name in ("platforms", "deploys", "web"):
            (root / name).mkdir()
        (root / DEPLOY).write_text(DEPLOYED)
        hosts = read_lab_hosts(ROOT, PLATFORM)
        seller = {"seller": {"port": 8000}}
        self.manifest: dict[str, Any] = {
            "version": 1,
            "platform": PLATFORM,
            "runtime": {"package": {"directory": "../examples/agent_runtime"}, "launcher": "agent_runtime"},
            "services": {"consul": {"hosts": "servers", "version": VERSION}},
            "groups": {
                "sales": {
                    "hosts": "main_pc",
                    "module": "m",
                    "needs": [{"name": "consul", "keys": ["sales/*", "shared/settings"]}],
                    "agents": seller,
                },
                "stock": {
                    "hosts": "pc2",
                    "module": "m",
                    "needs": [{"name": "consul", "keys": ["stock/*"]}, {"name": "sales", "required": False}],
                    "agents": {"keeper": {"port": 8100}},
                },
            },
            "lab": {"hosts": {name: [*host.groups, "servers"] for name, host in hosts.items()}},
        }

    def serve(self, keyring: Keyring, package: Path, url: str) -> None:
        """Be the vendor: the real package in a repository signed with a key of this test."""
        fingerprint = keyring.make("vendor")
        repository = SignedRepository(self.web / "repository", keyring)
        repository.add(package)
        repository.publish(fingerprint)
        (self.web / "key.asc").write_bytes(keyring.export(fingerprint))
        source = {"uri": f"{url}/repository", "suite": "stable", "key": f"{url}/key.asc", "packages": ["consul"]}
        lock = {"repositories": {"hashicorp": {**source, "fingerprints": [fingerprint]}}}
        (self.root / "artifacts.lock").write_text(yaml.safe_dump(lock))

    def prepare(self) -> None:
        (self.root / f"platforms/{PLATFORM}.yaml").write_text(yaml.safe_dump(self.manifest))
        site = load_site("lab", self.root)
        site.secrets.initialise()
        site.secrets.ensure(name_declarations(site.topology.secret_declarations))
        site.authority.initialise()

    def apply(self) -> RunResult:
        self.prepare()
        return api.apply("lab", root=self.root, deploys=[DEPLOY])

    def plan(self) -> RunResult:
        self.prepare()
        return api.plan("lab", root=self.root, deploys=[DEPLOY])

    def call(self, host: str, command: str) -> list[str]:
        return [sys.executable, "-m", "groundwork.cli.lab", "exec", "--json", "--name", NAME, host, "--", command]

    def run(self, host: str, command: str) -> str:
        state = LabState(NAME, ROOT)
        _, output, errors = capture_command(state, find_host(state, host), [command])
        return (output + errors).strip()

    def started(self) -> list[str]:
        command = f"systemctl show --property=ExecMainStartTimestampMonotonic --value {UNIT}"
        return [self.run(host, command) for host in HOSTS]

    def leader(self) -> str:
        """The host whose server leads."""
        site = load_site("lab", self.root)
        folder = f"/etc/groundwork/{PLATFORM}"
        certificate = f"{folder}/certificates/consul-1/current"
        for host in HOSTS:
            address = site.inventory.host(host).address
            files = f"'{folder}/authority/bundle.pem', '{certificate}/certificate.pem', '{certificate}/key.pem'"
            code = (
                "import ssl, urllib.request as r; "
                f"a, c, k = {files}; x = ssl.create_default_context(cafile=a); x.load_cert_chain(c, k); "
                "o = r.build_opener(r.ProxyHandler({}), r.HTTPSHandler(context=x)); "
                f"print(o.open('https://{address}:8501/v1/status/leader', timeout=5).read().decode())"
            )
            answer = self.run(host, f'python3 -c "{code}" 2>/dev/null')
            for name in HOSTS:
                if site.inventory.host(name).address in answer:
                    return name
        return ""

    def write(self) -> subprocess.Popen[str]:
        """Start writing keys as an agent of the group stock, and return once it is under way."""
        site = load_site("lab", self.root)
        folder, unit = f"/etc/groundwork/{PLATFORM}", f"{PLATFORM}-keeper@1"
        token = site.secret("consul_stock").reveal()
        settings = {
            "addresses": [site.inventory.host(name).address for name in HOSTS],
            "port": 8501,
            "prefix": "stock/written",
            "token": "/run/consul-token",
            "stop": "/run/consul-stop",
            "started": "/run/consul-started",
            "authority": f"{folder}/authority/bundle.pem",
            "certificate": f"{folder}/certificates/{unit}/current/certificate.pem",
            "key": f"{folder}/certificates/{unit}/current/key.pem",
        }
        encoded = base64.b64encode(json.dumps(settings).encode()).decode()
        (self.root / "writer.py").write_text(WRITER)
        script = base64.b64encode(WRITER.encode()).decode()
        self.run("pc2", f"umask 077; rm -f /run/consul-*; echo {token} >/run/consul-token")
        self.run("pc2", f"echo {script} | base64 -d >/run/consul-writer.py")
        process = subprocess.Popen(
            self.call("pc2", f"python3 /run/consul-writer.py {encoded}"), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        while not self.run("pc2", "cat /run/consul-started 2>/dev/null"):
            assert process.poll() is None
        return process

    def finish(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """End the writing and return what it found; it must have been under way until now."""
        assert process.poll() is None
        self.run("pc2", "touch /run/consul-stop")
        output, _ = process.communicate(timeout=300)
        result = dict(json.loads(json.loads(output)["stdout"]))
        print(result)
        return result


def changes(result: RunResult) -> dict[str, list[str]]:
    quiet = (OperationStatus.UNCHANGED,)
    return {host.name: [op.name for op in host.operations if op.status not in quiet] for host in result.hosts}


def reasons(result: RunResult) -> str:
    failed = [f"{host.name}: {host.reason}" for host in result.hosts if host.failed]
    return " ".join([*failed, *(str(problem) for problem in result.problems)])


def run_verification(root: Path) -> subprocess.CompletedProcess[str]:
    """The role's own verification, against this test's project."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["tests/verify/test_consul.py", "tests/verify/test_artifacts.py"]
    environment = {**os.environ, "GROUNDWORK_ROOT": str(root), "GROUNDWORK_LAB": NAME, "GROUNDWORK_ENV": "lab"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=600, check=False)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if shutil.which("gpg") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("gpg or dpkg-deb is not installed")
    try:
        package = fetch_consul(ROOT / ".cache/consul")
    except NoConsulError as error:
        pytest.skip(f"no real Consul can be had: {error}")
    before = os.environ.get("GROUNDWORK_LAB")
    os.environ["GROUNDWORK_LAB"] = NAME
    boot_lab(NAME, PLATFORM, RELEASE, Phases(print))
    keyring = Keyring()
    stage = Stage(tmp_path_factory.mktemp("project"))
    # A group that all three hosts are in; no lab's manifest has one.
    path = ROOT / ".lab" / NAME / "inventory.json"
    inventory = json.loads(path.read_text())
    for host in inventory["hosts"]:
        host["groups"] = sorted({*host["groups"], "servers"})
    path.write_text(json.dumps(inventory))
    gateway = stage.run("services", "ip -4 route show default").split()[2]
    server = ThreadingHTTPServer((gateway, 0), partial(QuietHandler, directory=str(stage.web)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    package = drop_dependency(package, stage.root / "package")
    stage.serve(keyring, package, f"http://{gateway}:{server.server_port}")
    yield stage
    server.shutdown()
    keyring.close()
    if not os.environ.get("GROUNDWORK_KEEP_LAB"):
        remove_lab(NAME)
    if before is None:
        del os.environ["GROUNDWORK_LAB"]
    else:
        os.environ["GROUNDWORK_LAB"] = before


def test_a_cluster_comes_up_and_stays_as_it_is(stage: Stage) -> None:
    stage.prepare()
    site = load_site("lab", stage.root)
    assert not [one for one in fetch_all(site, open_store(site)) if one.finding]
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    assert [stage.run(host, "consul version | head -n 1") for host in HOSTS] == [f"Consul v{VERSION}"] * 3
    assert stage.leader()
    assert changes(stage.plan()) == {host: [] for host in HOSTS}
    verified = run_verification(stage.root)
    assert verified.returncode == 0, verified.stdout[-5000:]


def test_losing_the_leader_loses_no_write(stage: Stage) -> None:
    leader = stage.leader()
    process = stage.write()
    stage.run(leader, f"systemctl kill --signal=KILL {UNIT}")
    before = int(stage.run("pc2", "cat /run/consul-started"))
    while int(stage.run("pc2", "cat /run/consul-started") or 0) < before + 100:
        assert process.poll() is None
    result = stage.finish(process)
    assert result["lost"] == [] and result["written"] > 100
    assert result["longest"] < 30


def test_a_token_and_a_certificate_are_renewed_without_a_restart(stage: Stage) -> None:
    before = stage.started()
    site = load_site("lab", stage.root)
    old = site.secret("consul_sales").reveal()
    site.secrets.write("consul_sales", SecretValue(str(uuid.uuid4())))
    stage.run("main-pc", f"touch -h /etc/groundwork/{PLATFORM}/certificates/consul-1/current")
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    assert stage.started() == before
    assert load_site("lab", stage.root).secret("consul_sales").reveal() != old
    verified = run_verification(stage.root)
    assert verified.returncode == 0, verified.stdout[-5000:]
    assert changes(stage.plan()) == {host: [] for host in HOSTS}


def test_what_consul_refuses_is_not_put_in_force(stage: Stage) -> None:
    """A release that does not know the settings: the former configuration and the running server stay."""
    before = stage.started()
    folder = f"/etc/groundwork/{PLATFORM}/consul/server-1"
    digest = stage.run("pc2", f"sha256sum {folder}/server.json")
    stage.run("pc2", "mv /usr/bin/consul /usr/bin/consul.real")
    fake = "#!/bin/sh\\ncase $1 in version) echo Consul v1.8.7;; *) echo invalid config key >&2; exit 1;; esac\\n"
    stage.run("pc2", f"printf '{fake}' >/usr/bin/consul && chmod 0755 /usr/bin/consul")
    stage.manifest["services"]["consul"]["gossip_port"] = 8311
    try:
        result = stage.apply()
        assert "invalid config key" in reasons(result)
        assert stage.run("pc2", f"sha256sum {folder}/server.json") == digest
        assert stage.started()[1] == before[1]
    finally:
        stage.run("pc2", "mv /usr/bin/consul.real /usr/bin/consul")
        del stage.manifest["services"]["consul"]["gossip_port"]
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)


def test_a_group_that_leaves_loses_its_token(stage: Stage) -> None:
    stage.manifest["groups"]["sales"]["needs"] = []
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    listed = stage.run(
        "main-pc", f"/usr/local/lib/groundwork/{PLATFORM}/consul-admin differences {access_path()}; echo $?"
    )
    assert listed == "0"
    assert "groundwork-sales" not in stage.run("main-pc", f"cat {access_path()}")


def access_path() -> str:
    return f"/etc/groundwork/{PLATFORM}/consul/access-1.json"


def test_what_is_no_longer_declared_goes_and_data_stays(stage: Stage) -> None:
    service = stage.manifest["services"].pop("consul")
    needs = stage.manifest["groups"]["stock"].pop("needs")
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    for host in HOSTS:
        assert stage.run(host, "pgrep -x consul; ls /etc/systemd/system | grep consul-1") == ""
        assert stage.run(host, f"ls -d /etc/groundwork/{PLATFORM}/consul/server-1 2>/dev/null") == ""
        assert stage.run(host, "find /etc/apt -name '*groundwork-*'") == ""
        assert stage.run(host, f"ls /var/lib/consul/{PLATFORM}-consul-1/raft/raft.db").endswith("raft.db")
    assert changes(stage.plan()) == {host: [] for host in HOSTS}
    stage.manifest["services"]["consul"] = service
    stage.manifest["groups"]["stock"]["needs"] = needs
    result = stage.apply()
    assert not result.failed_hosts, reasons(result)
    process = stage.write()
    assert stage.finish(process)["lost"] == []
