"""Every server of Consul lets in whom the manifest names, to the keys it names, by certificate and token together.

Asked over HTTPS from the hosts, with the certificates that lie there: no client library, no file of the role.
"""

from __future__ import annotations

import base64
import json
import secrets
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.authority.creation import create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.engine.inspection import inspect_host
from groundwork.manifest.services import ConsulService
from groundwork.site import Site
from groundwork.topology.flows import needs_of
from groundwork.topology.model import Process, ServiceNode
from groundwork.topology.secrets import credential_name

# Takes requests [METHOD, PATH, BODY] and prints [status, text] for each; what it is given comes over standard input.
ASKER = """
import base64, http.client, json, ssl, sys, tempfile
wanted = json.loads(base64.b64decode(sys.stdin.read()))
found = []
try:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(wanted["authority"])
    if wanted["pem"]:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(wanted["pem"])
            file.flush()
            context.load_cert_chain(file.name)
    elif wanted["certificate"]:
        context.load_cert_chain(wanted["certificate"], wanted["key"])
    for method, path, body in wanted["requests"]:
        if wanted["tls"]:
            connection = http.client.HTTPSConnection(wanted["address"], wanted["port"], timeout=10, context=context)
        else:
            connection = http.client.HTTPConnection(wanted["address"], wanted["port"], timeout=10)
        headers = {"X-Consul-Token": wanted["token"]} if wanted["token"] else {}
        connection.request(method, "/v1/" + path, body, headers)
        answer = connection.getresponse()
        found.append([answer.status, answer.read().decode(errors="replace")])
        connection.close()
except (OSError, http.client.HTTPException) as error:
    print(json.dumps({"refused": type(error).__name__ + ": " + str(error)}))
else:
    print(json.dumps({"answers": found}))
"""


@dataclass(frozen=True)
class Caller:
    """Who asks: from which host, with whose certificate, with which token."""

    host: str
    unit: str = ""
    token: str = ""
    pem: str = ""
    tls: bool = True


CONNECTED: dict[str, Host] = {}


def ask(site: Site, caller: Caller, node: ServiceNode, *requests: list[str]) -> dict[str, Any]:
    platform = site.platform.platform
    wanted = {
        "address": node.address,
        "port": node.port,
        "authority": paths.bundle(platform),
        "certificate": paths.certificate(platform, caller.unit) if caller.unit else "",
        "key": paths.key(platform, caller.unit) if caller.unit else "",
        "pem": caller.pem,
        "token": caller.token,
        "tls": caller.tls,
        "requests": [[*request, ""][:3] for request in requests],
    }
    if caller.host not in CONNECTED:
        CONNECTED[caller.host] = inspect_host(site.inventory.host(caller.host))
    text = base64.b64encode(json.dumps(wanted).encode()).decode()
    # The shell's own word, not an argument of a process: tokens are in it.
    output = CONNECTED[caller.host].check_output(f"python3 -c {shlex.quote(ASKER)} <<'END'\n{text}\nEND\n")
    return dict(json.loads(output))


def statuses(found: dict[str, Any]) -> list[int]:
    assert "answers" in found, found
    return [status for status, _ in found["answers"]]


@pytest.fixture
def nodes(site: Site, host_name: str) -> tuple[ServiceNode, ...]:
    return site.topology.nodes_on(host_name, "consul")


def declared(site: Site, node: ServiceNode) -> ConsulService:
    service = site.platform.services[node.service]
    assert isinstance(service, ConsulService)
    return service


def clients(site: Site, node: ServiceNode) -> list[Process]:
    """One process of each group that needs the service, on each of its hosts."""
    found: dict[tuple[str, str], Process] = {}
    for process in site.topology.processes:
        if node.service in needs_of(site.platform, process):
            found.setdefault((process.group, process.host), process)
    return list(found.values())


def caller_of(site: Site, node: ServiceNode, process: Process) -> Caller:
    token = site.secret(credential_name(node.service, process.group)).reveal()
    return Caller(process.host, process.unit_name.removesuffix(".service"), token)


def keys_of(site: Site, node: ServiceNode, group: str) -> dict[str, str]:
    """Keys a group may use, as its needs say, with ``read`` or ``write``."""
    needs = [*site.platform.groups[group].needs]
    needs += [need for agent in site.platform.groups[group].agents.values() for need in agent.needs]
    found: dict[str, str] = {}
    for need in needs:
        if need.name == node.service:
            for key in need.keys or [f"{site.platform.platform}/*"]:
                found[key] = "read" if need.access == "read" and found.get(key) != "write" else "write"
    return found


def example(key: str) -> str:
    return f"{key.removesuffix('*')}groundwork-verify-{secrets.token_hex(4)}" if key.endswith("/*") else key


def test_units_run_and_start_with_the_host(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        service = host.service(f"{site.platform.platform}-{node.service}-{node.index}")
        assert service.is_running
        assert service.is_enabled


def test_the_packages_own_server_cannot_start(host: Host) -> None:
    state = host.check_output("systemctl show --property=LoadState,ActiveState --value consul.service")
    assert state.split() == ["masked", "inactive"]


def test_the_package_is_the_vendors(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    """No repository but the vendor's may offer it."""
    policy = host.check_output("LC_ALL=C apt-cache policy consul")
    assert nodes
    installed = policy.split("Installed: ")[1].split()[0]
    wanted = declared(site, nodes[0]).version
    assert installed.startswith(wanted) if wanted else installed != "(none)"
    assert host.check_output("cat /etc/apt/preferences.d/groundwork-*").count("Package: consul\n") >= 1


def test_listens_on_the_declared_ports_only(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        service = declared(site, node)
        tcp = {line.split()[3] for line in host.check_output("ss -Hltnp").splitlines() if '"consul"' in line}
        udp = {line.split()[3] for line in host.check_output("ss -Hlunp").splitlines() if '"consul"' in line}
        ports = (service.port, service.rpc_port, service.gossip_port)
        assert tcp == {f"{node.address}:{port}" for port in ports}
        assert udp == {f"{node.address}:{service.gossip_port}"}


def test_all_servers_are_members_and_one_leads(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        caller = Caller(node.host, f"{node.service}-{node.index}")
        found = ask(site, caller, node, ["GET", "status/leader"], ["GET", "status/peers"])
        leader, peers = (json.loads(text) for _, text in found["answers"])
        servers = {other.address for other in site.topology.nodes if other.service == node.service}
        assert {peer.rpartition(":")[0].strip("[]") for peer in peers} == servers
        assert leader.rpartition(":")[0].strip("[]") in servers


def test_nobody_gets_in_without_a_certificate(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for name in {node.host, *(process.host for process in clients(site, node))}:
            for caller in (Caller(name), Caller(name, tls=False)):
                found = ask(site, caller, node, ["GET", "status/leader"])
                assert "refused" in found or set(statuses(found)) == {400}, found


def test_certificates_of_another_authority_and_expired_ones_are_refused(
    site: Site, nodes: tuple[ServiceNode, ...]
) -> None:
    now = datetime.now(UTC)
    foreign = create_intermediate(create_root(site.environment, "other", now), site.environment, "other", now)
    for node in nodes:
        unit = f"{node.service}-{node.index}"
        identity = next(one for one in site.topology.identities if (one.host, one.unit) == (node.host, unit))
        own = site.authority.issuer()
        trials = [(foreign, now, timedelta(minutes=10), False), (own, now, timedelta(minutes=10), True)]
        trials.append((own, now - timedelta(minutes=3), timedelta(minutes=1), False))
        for issuer, start, life, accepted in trials:
            leaf, key = make_leaf(issuer, identity, start, life)
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
            pem += "".join(one.public_bytes(Encoding.PEM).decode() for one in (leaf, issuer.certificate))
            found = ask(site, Caller(node.host, pem=pem), node, ["GET", "status/leader"])
            assert ("answers" in found) is accepted, found


def test_without_a_token_nothing_is_seen_or_changed(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for process in clients(site, node):
            unit = process.unit_name.removesuffix(".service")
            key = example(next(iter(keys_of(site, node, process.group))))
            requests = [["PUT", f"kv/{key}", "x"], ["GET", f"kv/{key}"], ["GET", "acl/tokens"], ["GET", "agent/self"]]
            for token in ("", "00000000-0000-0000-0000-000000000002", secrets.token_hex(16)):
                found = ask(site, Caller(process.host, unit, token), node, *requests)
                assert set(statuses(found)) <= {401, 403}, found


def test_groups_use_their_keys_and_no_others(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        groups = {process.group: keys_of(site, node, process.group) for process in clients(site, node)}
        for process in clients(site, node):
            caller = caller_of(site, node, process)
            for key, policy in groups[process.group].items():
                # A key that is declared whole may hold something: it is only read.
                name = example(key)
                requests = [["GET", f"kv/{name}"]]
                if key.endswith("/*"):
                    requests = [["PUT", f"kv/{name}", "seen"], ["GET", f"kv/{name}?raw"], ["DELETE", f"kv/{name}"]]
                found = statuses(ask(site, caller, node, *requests))
                expected = [200, 200, 200] if policy == "write" else [403, 404, 403]
                assert found == expected if len(found) == 3 else found[0] in (200, 404)
            others = {key for other, keys in groups.items() if other != process.group for key in keys}
            strange = [key for key in others if not covered(key, groups[process.group])]
            requests = [["PUT", f"kv/{example(key)}", "x"] for key in strange]
            requests += [["PUT", "kv/groundwork-verify", "x"], ["GET", "kv/?recurse=true&keys=true"]]
            answers = ask(site, caller, node, *requests)["answers"]
            assert {status for status, _ in answers[:-1]} == {403}
            seen = json.loads(answers[-1][1]) if answers[-1][0] == 200 else []
            assert all(covered(key, groups[process.group]) for key in seen)


def covered(key: str, own: dict[str, str]) -> bool:
    plain = key.removesuffix("*")
    return any(plain.startswith(one.removesuffix("*")) if one.endswith("/*") else plain == one for one in own)


def test_groups_register_their_own_agents_only_and_administer_nothing(
    site: Site, nodes: tuple[ServiceNode, ...]
) -> None:
    for node in nodes:
        for process in clients(site, node):
            caller = caller_of(site, node, process)
            own = next(iter(site.platform.groups[process.group].agents))
            identity = f"groundwork-verify-{secrets.token_hex(4)}"
            ours = json.dumps({"ID": identity, "Name": own})
            theirs = json.dumps({"ID": f"{identity}-other", "Name": "groundwork-verify"})
            requests = [
                ["PUT", "agent/service/register", ours],
                ["PUT", f"agent/service/deregister/{identity}"],
                ["PUT", "agent/service/register", theirs],
                ["PUT", "acl/token", "{}"],
                ["PUT", "acl/policy", json.dumps({"Name": "groundwork-verify"})],
                ["GET", "agent/self"],
                ["PUT", "agent/leave"],
                ["GET", "operator/keyring"],
            ]
            found = ask(site, caller, node, *requests)
            assert statuses(found)[:-1] == [200, 200, 403, 403, 403, 403, 403], found
            # Consul 1.8 refuses its keys of the gossip with 500 and these words.
            status, text = found["answers"][-1]
            assert status == 403 or (status, text.strip()) == (500, "Reading keyring denied by ACLs"), found


def test_files_and_data_are_closed(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    platform = site.platform.platform
    for node in nodes:
        folder = f"/etc/groundwork/{platform}/{node.service}"
        expected = {
            f"{folder}/server-{node.index}/server.json": ("root", "consul", 0o640),
            f"{folder}/server-{node.index}/server-secrets.json": ("root", "consul", 0o640),
            f"/var/lib/consul/{platform}-{node.service}-{node.index}": ("consul", "consul", 0o700),
            paths.key(platform, f"{node.service}-{node.index}"): ("consul", "consul", 0o400),
        }
        access = host.file(f"{folder}/access-{node.index}.json")
        if access.exists:
            expected[access.path] = ("root", "root", 0o600)
        found = {path: host.file(path) for path in expected}
        assert {path: (f.user, f.group, f.mode) for path, f in found.items()} == expected


def test_sandbox_is_tight(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        unit = f"{site.platform.platform}-{node.service}-{node.index}.service"
        result = host.run(f"systemd-analyze security --no-pager --threshold=15 {unit}")
        assert result.rc == 0, result.stdout.splitlines()[-1:]


def test_only_hosts_with_a_need_can_connect(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        service = declared(site, node)
        ports = {service.port, service.rpc_port, service.gossip_port}
        flows = [f for f in site.topology.flows if f.destination_host == node.host and f.port in ports]
        sources = {site.inventory.host(flow.source_host).address for flow in flows if flow.source_host}
        unit = f"{site.platform.platform}-{node.service}-{node.index}.service"
        allowed = host.check_output(f"systemctl show --property=IPAddressAllow --value {unit}").split()
        found = {network.partition("/")[0] for network in allowed if not network.startswith(("127.", "::1"))}
        assert found == sources | {node.address}
