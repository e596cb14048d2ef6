"""Every server of NATS lets in whom the manifest names, to the subjects it names, by certificates and nothing else.

Speaks NATS's own protocol from the hosts with the certificates that lie there: no client library, no file of the role.
"""

from __future__ import annotations

import base64
import json
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.authority.creation import Issuer, create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.engine.inspection import inspect_host
from groundwork.manifest.services import NatsService
from groundwork.site import Site
from groundwork.topology.flows import needs_of
from groundwork.topology.model import Identity, Process, ServiceNode

# Takes steps ["pub", SUBJECT], ["sub", SUBJECT], ["ask", SUBJECT, INBOX, BODY] and prints what came back for each.
SPEAKER = """
import base64, json, os, socket, ssl, sys, tempfile
wanted = json.loads(base64.b64decode(sys.argv[1]))
def run():
    raw = socket.create_connection((wanted["address"], wanted["port"]), 5)
    info = json.loads(raw.makefile("rb", buffering=0).readline()[5:])
    if wanted["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(wanted["authority"])
        if wanted["pem"]:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(wanted["pem"])
                file.flush()
                context.load_cert_chain(file.name)
        elif wanted["certificate"]:
            context.load_cert_chain(wanted["certificate"], wanted["key"])
        raw = context.wrap_socket(raw, server_hostname=wanted["address"])
    stream = raw.makefile("rwb")
    def send(text):
        stream.write(text.encode())
        stream.flush()
    def settle():
        found = []
        send("PING\\r\\n")
        while True:
            line = stream.readline().decode().strip()
            verb = line.split(" ")[0]
            if verb in ("MSG", "HMSG"):
                found.append(stream.read(int(line.split()[-1]) + 2).decode())
            elif verb == "PING":
                send("PONG\\r\\n")
            elif verb == "PONG":
                return found
            elif verb == "-ERR":
                found.append(line)
            elif verb == "":
                raise ConnectionError(" ".join(found) or "closed")
    options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "p", "version": "1"}
    send("CONNECT " + json.dumps(options | wanted["options"]) + "\\r\\n")
    answers = [settle()]
    for number, (verb, subject, *rest) in enumerate(wanted["steps"]):
        if verb == "sub":
            send(f"SUB {subject} {number}\\r\\n")
        elif verb == "pub":
            send(f"PUB {subject} 0\\r\\n\\r\\n")
        else:
            inbox, body = rest
            send(f"SUB {inbox} {number}\\r\\nPUB {subject} {inbox} {len(body)}\\r\\n{body}\\r\\n")
        got = settle()
        while verb == "ask" and not got:
            got = settle()
        answers.append(got)
    return {"info": info, "answers": answers[1:]}
try:
    print(json.dumps(run()))
except (OSError, ValueError) as error:
    print(json.dumps({"refused": f"{type(error).__name__}: {error}"}))
"""

Step = list[str]
HOSTS: dict[str, Host] = {}


@dataclass(frozen=True)
class Caller:
    """Who connects: from which host, with which certificate (a path of the host, or PEM made for the test)."""

    host: str
    unit: str = ""
    pem: str = ""
    tls: bool = True
    options: tuple[tuple[str, str], ...] = ()


def speak(site: Site, caller: Caller, node: ServiceNode, *steps: Step) -> dict[str, Any]:
    """Connect to a server and take the steps; ``refused`` in the answer says why it did not come to that."""
    platform = site.platform.platform
    if caller.host not in HOSTS:
        HOSTS[caller.host] = inspect_host(site.inventory.host(caller.host))
    request = {
        "address": node.address,
        "port": node.port,
        "tls": caller.tls,
        "authority": paths.bundle(platform),
        "certificate": paths.certificate(platform, caller.unit) if caller.unit else "",
        "key": paths.key(platform, caller.unit) if caller.unit else "",
        "pem": caller.pem,
        "options": dict(caller.options),
        "steps": steps,
    }
    encoded = base64.b64encode(json.dumps(request).encode()).decode()
    output = HOSTS[caller.host].check_output(f"timeout 30 python3 -c {shlex.quote(SPEAKER)} {encoded}")
    return dict(json.loads(output))


@pytest.fixture
def nodes(site: Site, host_name: str) -> tuple[ServiceNode, ...]:
    return site.topology.nodes_on(host_name, "nats")


def declared(site: Site, node: ServiceNode) -> NatsService:
    service = site.platform.services[node.service]
    assert isinstance(service, NatsService)
    return service


def unit_of(process: Process) -> str:
    return process.unit_name.removesuffix(".service")


def clients(site: Site, node: ServiceNode) -> Iterator[Process]:
    """One process of each agent group that needs the service."""
    seen: set[str] = set()
    for process in site.topology.processes:
        if node.service in needs_of(site.platform, process) and process.group not in seen:
            seen.add(process.group)
            yield process


def caller_of(process: Process) -> Caller:
    return Caller(process.host, unit_of(process))


def root_of(node: ServiceNode) -> Caller:
    return Caller(node.host, f"{node.service}-{node.index}")


def subjects(site: Site, node: ServiceNode, group: str, verb: str) -> list[str]:
    """Subjects that the group's needs name, with something in the place of wildcards."""
    declared = site.platform.groups[group]
    needs = [*declared.needs, *(need for agent in declared.agents.values() for need in agent.needs)]
    found = [s for need in needs if need.name == node.service for s in getattr(need, verb) if s != "_INBOX.>"]
    mark = f"groundwork-verify-{secrets.token_hex(4)}"
    return [subject.replace("*", mark).replace(">", mark) for subject in found]


def covers(pattern: str, subject: str) -> bool:
    """Whether a subject with wildcards includes another."""
    wanted, given = pattern.split("."), subject.split(".")
    for number, word in enumerate(wanted):
        if word == ">":
            return len(given) > number
        if number >= len(given) or word not in ("*", given[number]):
            return False
    return len(wanted) == len(given)


def may(site: Site, node: ServiceNode, group: str, verb: str, subject: str) -> bool:
    declared = site.platform.groups[group]
    needs = [*declared.needs, *(need for agent in declared.agents.values() for need in agent.needs)]
    return any(covers(s, subject) for need in needs if need.name == node.service for s in getattr(need, verb))


def refusals(answers: list[list[str]]) -> list[bool]:
    return [any(line.startswith("-ERR 'Permissions Violation") for line in answer) for answer in answers]


def test_units_run_and_start_with_the_host(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        service = host.service(f"{site.platform.platform}-{node.service}-{node.index}")
        assert service.is_running
        assert service.is_enabled


def test_the_packages_own_server_cannot_start(host: Host) -> None:
    state = host.check_output("systemctl show --property=LoadState,ActiveState --value nats-server.service")
    assert state.split() == ["masked", "inactive"]


def test_listens_on_the_declared_addresses_only(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    lines = host.check_output("ss -Hltnp").splitlines()
    found = {line.split()[3] for line in lines if "nats-server" in line}
    expected: set[str] = set()
    for node in nodes:
        service = declared(site, node)
        expected |= {f"{node.address}:{node.port}", f"127.0.0.1:{service.monitoring_port}"}
        expected |= {f"{node.address}:{service.cluster_port}"} if service.mode == "cluster" else set()
    assert found == expected


def test_monitoring_is_not_reachable_from_other_hosts(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        monitoring = replace(node, port=declared(site, node).monitoring_port)
        for other in site.inventory.hosts:
            if other.name != node.host:
                assert "refused" in speak(site, Caller(other.name, tls=False), monitoring)


def test_requires_tls_and_keeps_data(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        info = speak(site, root_of(node), node)["info"]
        assert info["tls_required"] is info["tls_verify"] is True
        assert info.get("jetstream", False) is (declared(site, node).jetstream is not None)
        assert info["max_payload"] == declared(site, node).maximum_payload


def test_nobody_gets_in_without_a_certificate(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    login = (("user", "nats"), ("pass", "nats"))
    for node in nodes:
        for name in {node.host, *(process.host for process in clients(site, node))}:
            for caller in (Caller(name), Caller(name, tls=False), Caller(name, tls=False, options=login)):
                assert "refused" in speak(site, caller, node, ["pub", "groundwork-verify"])


def forge(issuer: Issuer, identity: Identity, now: datetime, life: timedelta = timedelta(minutes=10)) -> str:
    """A certificate with its key and its issuer's."""
    leaf, key = make_leaf(issuer, identity, now, life)
    return _encode(key) + _print(leaf) + _print(issuer.certificate)


def _encode(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _print(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def test_certificates_of_another_authority_and_expired_ones_are_refused(
    site: Site, nodes: tuple[ServiceNode, ...]
) -> None:
    now = datetime.now(UTC)
    foreign = create_intermediate(create_root(site.environment, "other", now), site.environment, "other", now)
    for node in nodes:
        unit = f"{node.service}-{node.index}"
        identity = next(one for one in site.topology.identities if (one.host, one.unit) == (node.host, unit))
        callers = [Caller(node.host, pem=forge(foreign, identity, now))]
        own = site.authority.issuer()
        callers.append(Caller(node.host, pem=forge(own, identity, now - timedelta(minutes=3), timedelta(minutes=1))))
        for caller in callers:
            assert "refused" in speak(site, caller, node, ["pub", "groundwork-verify"])
        # The same certificate within its time is let in: it was the time that was refused.
        assert "refused" not in speak(site, Caller(node.host, pem=forge(own, identity, now)), node)


def test_valid_certificates_of_others_are_refused(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        servers = {other.host for other in site.topology.nodes if other.service == node.service}
        users = {(p.host, unit_of(p)) for p in site.topology.processes if node.service in needs_of(site.platform, p)}
        users |= {(name, f"{node.service}-{node.index}") for name in servers}
        others = [one for one in site.topology.identities if (one.host, one.unit) not in users]
        assert "operator" in {one.unit for one in others}
        for one in others:
            assert "refused" in speak(site, Caller(one.host, one.unit), node, ["pub", "groundwork-verify"]), one.unit


def test_groups_use_their_subjects(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for process in clients(site, node):
            steps = [["pub", subject] for subject in subjects(site, node, process.group, "publish")]
            steps += [["sub", subject] for subject in subjects(site, node, process.group, "subscribe")]
            steps.append(["sub", f"_INBOX.{process.group}.{secrets.token_hex(4)}"])
            found = speak(site, caller_of(process), node, *steps)
            assert "refused" not in found, found
            assert refusals(found["answers"]) == [False] * len(steps)
            forget(site, node, [subject for verb, subject in steps if verb == "pub"])


def forget(site: Site, node: ServiceNode, published: list[str]) -> None:
    """Take the empty messages of this test out of the streams that took them; agents' own are never empty."""
    for name, stream in declared(site, node).streams.items():
        for subject in published:
            if not any(covers(taken, subject) for taken in stream.subjects):
                continue
            inbox, question = f"_INBOX.verify.{secrets.token_hex(4)}", json.dumps({"last_by_subj": subject})
            steps = [["ask", f"$JS.API.STREAM.MSG.GET.{name}", inbox, question]]
            message = json.loads(speak(site, root_of(node), node, *steps)["answers"][0][0]).get("message", {})
            if message and not message.get("data"):
                deed = json.dumps({"seq": message["seq"]})
                steps = [["ask", f"$JS.API.STREAM.MSG.DELETE.{name}", inbox, deed]]
                assert json.loads(speak(site, root_of(node), node, *steps)["answers"][0][0])["success"]


def test_groups_cannot_use_others_subjects(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        groups = [process.group for process in clients(site, node)]
        for process in clients(site, node):
            steps = [["sub", ">"], ["sub", "_INBOX.>"], ["sub", "$SYS.>"], ["pub", "$SYS.REQ.SERVER.PING"]]
            steps += [["sub", f"$KV.{bucket}.>"] for bucket in declared(site, node).key_value_buckets]
            for other in groups:
                if other == process.group:
                    continue
                steps += [["sub", f"_INBOX.{other}.>"], ["pub", f"_INBOX.{other}.forged"]]
                for verb, short in (("publish", "pub"), ("subscribe", "sub")):
                    named = subjects(site, node, other, verb)
                    steps += [[short, s] for s in named if not may(site, node, process.group, verb, s)]
            found = speak(site, caller_of(process), node, *steps)
            assert "refused" not in found, found
            allowed = [step for step, refused in zip(steps, refusals(found["answers"]), strict=True) if not refused]
            assert allowed == []


def test_buckets_exist_and_groups_read_but_cannot_administer_them(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for bucket in declared(site, node).key_value_buckets:
            for process in clients(site, node):
                inbox = f"_INBOX.{process.group}.{secrets.token_hex(4)}"
                question = f"$JS.API.STREAM.INFO.KV_{bucket}"
                deeds = [f"$JS.API.STREAM.{verb}.KV_{bucket}" for verb in ("DELETE", "PURGE", "UPDATE")]
                deeds += ["$JS.API.STREAM.NAMES", "$JS.API.STREAM.CREATE.groundwork-verify"]
                # Without a body, which JetStream would refuse for UPDATE and CREATE should they be allowed after all.
                steps = [["ask", question, inbox, ""], *(["pub", subject] for subject in deeds)]
                found = speak(site, caller_of(process), node, *steps)
                described = json.loads(found["answers"][0][0])
                assert described["config"]["subjects"] == [f"$KV.{bucket}.>"]
                assert described["config"]["storage"] == "file"
                assert refusals(found["answers"]) == [False] + [True] * len(deeds)


def test_streams_exist_and_only_their_readers_reach_them(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for name, stream in declared(site, node).streams.items():
            for process in clients(site, node):
                group = site.platform.groups[process.group]
                needs = [*group.needs, *(need for agent in group.agents.values() for need in agent.needs)]
                reads = any(use.name == name for need in needs for use in need.streams)
                inbox = f"_INBOX.{process.group}.{secrets.token_hex(4)}"
                questions = [f"$JS.API.STREAM.INFO.{name}"]
                questions += [f"$JS.API.CONSUMER.INFO.{name}.{consumer}" for consumer in stream.consumers]
                deeds = [f"$JS.API.STREAM.{verb}.{name}" for verb in ("CREATE", "UPDATE", "DELETE", "PURGE")]
                steps = [["ask", question, inbox, ""] for question in questions if reads]
                steps += [["pub", subject] for subject in (deeds if reads else [*questions, *deeds])]
                answers = speak(site, caller_of(process), node, *steps)["answers"]
                asked = len(questions) if reads else 0
                assert refusals(answers) == [False] * asked + [True] * (len(steps) - asked)
                configs = [json.loads(answer[0])["config"] for answer in answers[:asked]]
                assert not reads or configs[0]["subjects"] == stream.subjects
                assert [config["durable_name"] for config in configs[1:]] == (list(stream.consumers) if reads else [])


def test_what_is_written_to_a_bucket_is_acknowledged_and_found(site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        for bucket in declared(site, node).key_value_buckets:
            key, inbox = (
                f"$KV.{bucket}.groundwork-verify-{secrets.token_hex(4)}",
                f"_INBOX.verify.{secrets.token_hex(4)}",
            )
            question = json.dumps({"last_by_subj": key})
            steps = [["ask", key, f"{inbox}.1", "seen"]]
            steps += [["ask", f"$JS.API.STREAM.MSG.GET.KV_{bucket}", f"{inbox}.2", question]]
            erase = json.dumps({"filter": key})
            steps += [["ask", f"$JS.API.STREAM.PURGE.KV_{bucket}", f"{inbox}.3", erase]]
            written, read, erased = (
                json.loads(answer[0]) for answer in speak(site, root_of(node), node, *steps)["answers"]
            )
            assert written["stream"] == f"KV_{bucket}"
            assert base64.b64decode(read["message"]["data"]) == b"seen"
            assert erased["purged"] == 1


def test_files_belong_to_root_and_data_to_nats(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    platform = site.platform.platform
    for node in nodes:
        folder = f"/etc/groundwork/{platform}/{node.service}"
        expected = {
            f"{folder}/server-{node.index}.conf": ("root", "nats", 0o640),
            f"{folder}/clients-{node.index}.conf": ("root", "nats", 0o640),
            f"/var/lib/nats/{platform}-{node.service}-{node.index}": ("nats", "nats", 0o700),
            paths.key(platform, f"{node.service}-{node.index}"): ("nats", "nats", 0o400),
            f"/usr/local/lib/groundwork/{platform}/nats-admin": ("root", "root", 0o755),
        }
        found = {path: host.file(path) for path in expected}
        assert {path: (f.user, f.group, f.mode) for path, f in found.items()} == expected


def test_sandbox_is_tight(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        unit = f"{site.platform.platform}-{node.service}-{node.index}.service"
        result = host.run(f"systemd-analyze security --no-pager --threshold=15 {unit}")
        assert result.rc == 0, result.stdout.splitlines()[-1:]


def test_only_hosts_with_a_need_can_connect(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        ports = {node.port, declared(site, node).cluster_port}
        flows = [f for f in site.topology.flows if f.destination_host == node.host and f.port in ports]
        sources = {site.inventory.host(flow.source_host).address for flow in flows if flow.source_host}
        unit = f"{site.platform.platform}-{node.service}-{node.index}.service"
        allowed = host.check_output(f"systemctl show --property=IPAddressAllow --value {unit}").split()
        found = {network.partition("/")[0] for network in allowed if not network.startswith(("127.", "::1"))}
        assert found == sources | {node.address}
        denied = host.check_output(f"systemctl show --property=IPAddressDeny --value {unit}").split()
        assert sorted(denied) == ["0.0.0.0/0", "::/0"]


def test_members_of_a_cluster_know_each_other(host: Host, site: Site, nodes: tuple[ServiceNode, ...]) -> None:
    for node in nodes:
        service = declared(site, node)
        if service.mode != "cluster":
            continue
        read = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{}/{}').read().decode())"
        found = {
            path: json.loads(host.check_output(f"python3 -c {shlex.quote(read.format(service.monitoring_port, path))}"))
            for path in ("routez", "healthz")
        }
        others = {n.address for n in site.topology.nodes if n.service == node.service and n != node}
        assert {route["ip"] for route in found["routez"]["routes"]} == others
        assert found["healthz"]["status"] == "ok"
