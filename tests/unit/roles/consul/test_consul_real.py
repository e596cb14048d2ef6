"""A real Consul takes the rendered configuration and lets in whom the helper's policies and tokens name."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from groundwork.authority.creation import create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.manifest.services import ConsulService
from groundwork.topology.accounts import ROOT as ROOT_USER
from groundwork.topology.model import Identity
from roles.consul import plan
from roles.consul.access import GroupAccess, _render
from roles.consul.onhost import consul_admin
from roles.consul.onhost.consul_admin import AdminError, Api
from tests.real_consul import NoConsulError, fetch_consul

CHECKOUT = Path(__file__).resolve().parents[4]
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@dataclass
class Cluster:
    """Three servers on loopback; ``folder`` has their files and certificates."""

    folder: Path
    program: Path
    port: int
    servers: list[plan.Server]
    tokens: dict[str, str]

    def describe(self, server: plan.Server) -> dict[str, Any]:
        """What the helper is told, with the certificates of this test."""
        described: dict[str, Any] = plan.describe_access(server, self.tokens)
        return described | self.files("servers")

    def files(self, name: str) -> dict[str, str]:
        return {
            "authority": str(self.folder / "ca.pem"),
            "certificate": str(self.folder / f"{name}.pem"),
            "key": str(self.folder / f"{name}.key"),
        }

    def admin(self, verb: str, described: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        path = self.folder / "access.json"
        path.write_text(json.dumps(described))
        command = [sys.executable, consul_admin.__file__, verb, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def api(self, token: str, name: str = "agent", address: str = ADDRESSES[1]) -> Api:
        files = self.files(name)
        return Api(address, self.port, files["authority"], files["certificate"], files["key"], token)


def write_certificates(folder: Path) -> None:
    """One certificate for the servers and one for an agent, of one authority."""
    now = datetime.now(UTC)
    root = create_root("here", "test", now)
    issuer = create_intermediate(root, "here", "test", now)
    (folder / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    for name, names in (("servers", ("server.ymera.consul",)), ("agent", ("agent.example.org",))):
        identity = Identity(name, "here", names, ADDRESSES, f"spiffe://here/ymera/{name}", name, ROOT_USER)
        leaf, key = make_leaf(issuer, identity, now)
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, issuer.certificate))
        (folder / f"{name}.pem").write_bytes(chain)
        (folder / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    try:
        package = fetch_consul(CHECKOUT / ".cache/consul")
    except NoConsulError as error:
        pytest.skip(f"no real Consul can be had: {error}")
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "tree")], check=True)
    write_certificates(folder)
    https, rpc, gossip = free_ports()
    declared = ConsulService(kind="consul", hosts="data", port=https, rpc_port=rpc, gossip_port=gossip)
    members = tuple((f"data-{n}", address) for n, address in enumerate(ADDRESSES, 1))
    access = tuple(
        GroupAccess(name, _render({f"{name}/*": "write", "shared": "read"}, [f"{name}-agent"]))
        for name in ("sales", "stock")
    )
    servers = [
        plan.Server("ymera", "consul", 1, host, address, declared, members, access, ()) for host, address in members
    ]
    tokens = {name: str(uuid.uuid4()) for name in ("management", "agent", "sales", "stock")}
    found = Cluster(folder, folder / "tree/usr/bin/consul", https, servers, tokens)
    gossip_key = base64.b64encode(os.urandom(32)).decode()
    processes = [start(found, server, gossip_key) for server in servers]
    yield found
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(timeout=30)


def start(cluster: Cluster, server: plan.Server, gossip_key: str) -> subprocess.Popen[bytes]:
    """Start a server with exactly what the role would write, but for paths."""
    place = cluster.folder / server.host
    (place / "conf").mkdir(parents=True)
    files = cluster.files("servers")
    described = plan.describe_server(server, False)
    described |= {"data_dir": str(place / "data"), "ca_file": files["authority"]}
    described |= {"cert_file": files["certificate"], "key_file": files["key"]}
    secrets = plan.describe_secrets(gossip_key, cluster.tokens["management"], cluster.tokens["agent"], False)
    (place / "conf/server.json").write_text(json.dumps(described))
    (place / "conf/server-secrets.json").write_text(json.dumps(secrets))
    for path in (place / "conf/server.json", place / "conf"):
        judged = subprocess.run([cluster.program, "validate", path], capture_output=True, text=True, check=False)
        assert judged.returncode == 0, judged.stderr
    command = [str(cluster.program), "agent", "-config-format=json", f"-config-dir={place / 'conf'}"]
    with (place / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def test_the_helper_makes_what_is_declared_and_then_nothing(cluster: Cluster) -> None:
    files = cluster.files("servers")
    for address in ADDRESSES:
        ready = ["ready", address, str(cluster.port), "3", files["authority"], files["certificate"], files["key"]]
        assert consul_admin.main(ready) == 0
    described = cluster.describe(cluster.servers[0])
    done = cluster.admin("apply", described)
    assert done.returncode == 0, done.stderr
    assert cluster.admin("differences", described).stdout == ""
    sales, stock = (cluster.api(cluster.tokens[name]) for name in ("sales", "stock"))
    assert sales.ask("PUT", "kv/sales/one", "x") is True
    assert sales.ask("GET", "kv/shared") is None
    for api, path in (
        (stock, "kv/sales/one"),
        (sales, "kv/shared"),
        (sales, "kv/other"),
        (cluster.api(""), "kv/sales/x"),
    ):
        with pytest.raises(AdminError, match="403"):
            api.ask("PUT", path, "x")
    assert sales.ask("PUT", "agent/service/register", {"Name": "sales-agent"}) is None
    with pytest.raises(AdminError, match="403"):
        stock.ask("PUT", "agent/service/register", {"Name": "sales-agent"})
    with pytest.raises(AdminError, match="403"):
        sales.ask("GET", "acl/tokens")


def test_a_token_with_another_secret_and_changed_rules_are_made_anew(cluster: Cluster) -> None:
    cluster.admin("apply", cluster.describe(cluster.servers[0]))
    former = cluster.tokens["sales"]
    cluster.tokens["sales"] = str(uuid.uuid4())
    described = cluster.describe(cluster.servers[0])
    described["policies"]["groundwork-stock"] = 'key_prefix "stock/" { policy = "read" }\n'
    lines = cluster.admin("differences", described).stdout.splitlines()
    assert lines == ["policy groundwork-stock: other rules", "token of groundwork: sales: another secret"]
    done = cluster.admin("apply", described)
    assert done.returncode == 0, done.stderr
    for secret in (*cluster.tokens.values(), former):
        assert secret not in done.stdout + done.stderr + "".join(lines)
    assert cluster.api(cluster.tokens["sales"]).ask("PUT", "kv/sales/two", "x") is True
    with pytest.raises(AdminError, match="403"):
        cluster.api(cluster.tokens["stock"]).ask("PUT", "kv/stock/two", "x")
    with pytest.raises(AdminError, match="403"):
        cluster.api(former).ask("PUT", "kv/sales/three", "x")
    # A management token that Consul does not know is told as such, not taken for an empty list.
    unknown = cluster.admin("differences", described | {"management": str(uuid.uuid4())})
    assert unknown.returncode == 1 and "403" in unknown.stderr


def test_what_is_not_declared_goes_and_what_others_made_stays(cluster: Cluster) -> None:
    described = cluster.describe(cluster.servers[0])
    cluster.admin("apply", described)
    manager = cluster.api(cluster.tokens["management"])
    manager.ask("PUT", "acl/policy", {"Name": "somebodys", "Rules": ""})
    manager.ask("PUT", "acl/token", {"Description": "somebody's", "Policies": [{"Name": "somebodys"}]})
    kept = plan.accessor("ymera", "consul", "sales")
    described["tokens"] = {name: one for name, one in described["tokens"].items() if name != kept}
    del described["policies"]["groundwork-sales"]
    done = cluster.admin("apply", described)
    assert done.returncode == 0, done.stderr
    policies = {one["Name"] for one in manager.ask("GET", "acl/policies")}
    assert {"somebodys", "groundwork-stock"} <= policies and "groundwork-sales" not in policies
    descriptions = {one["Description"] for one in manager.ask("GET", "acl/tokens")}
    assert {"somebody's", "groundwork: stock"} <= descriptions and "groundwork: sales" not in descriptions


def test_nobody_gets_in_without_a_certificate(cluster: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.folder / "ca.pem"))
    for certificate in (False, True):
        if certificate:
            files = cluster.files("agent")
            context.load_cert_chain(files["certificate"], files["key"])
        connection = http.client.HTTPSConnection(ADDRESSES[0], cluster.port, timeout=10, context=context)
        try:
            connection.request("GET", "/v1/status/leader")
            answered = connection.getresponse().status == 200
        except OSError:
            answered = False
        connection.close()
        assert answered is certificate
