"""Phoenix takes spans from the platform's agents with their certificates, and from nobody else."""

from __future__ import annotations

import base64
import json
import math
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.authority.creation import create_intermediate, create_root
from groundwork.authority.leaves import make_leaf
from groundwork.engine.inspection import inspect_host
from groundwork.manifest.observability import Traces
from groundwork.site import Site
from groundwork.topology.identities import OPERATOR, TRACES

EXPOSED_AT_MOST = 3.0
PROJECT = "groundwork-verify"
# Sends one request over TLS and prints status and text, or the name of the refusal.
CALLER = """
import base64, http.client, json, ssl, sys, tempfile
wanted = json.loads(base64.b64decode(sys.argv[1]))
try:
    context = ssl.create_default_context(cafile=wanted["authority"])
    if wanted["pem"]:
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(wanted["pem"])
            file.flush()
            context.load_cert_chain(file.name)
    elif wanted["certificate"]:
        context.load_cert_chain(wanted["certificate"], wanted["key"])
    kind = http.client.HTTPSConnection if wanted["tls"] else http.client.HTTPConnection
    connection = kind(wanted["address"], wanted["port"], timeout=30, **({"context": context} if wanted["tls"] else {}))
    connection.request(wanted["method"], wanted["path"], base64.b64decode(wanted["body"]), wanted["headers"])
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode(errors="replace")]))
except (OSError, http.client.HTTPException) as error:
    print(json.dumps([0, "%s %s" % (type(error).__name__, error)]))
"""
CONNECTED: dict[str, Host] = {}


def call(
    site: Site,
    source: str,
    path: str,
    unit: str = OPERATOR,
    *,
    method: str = "GET",
    body: bytes = b"",
    kind: str = "application/json",
    tls: bool = True,
    pem: str = "",
) -> tuple[int, str]:
    """Status and text of Phoenix's answer to a host; status 0 and the reason where there is none."""
    traces, platform = declared(site), site.platform.platform
    wanted = {
        "address": site.inventory.group(traces.hosts)[0].address,
        "port": traces.port,
        "path": path,
        "method": method,
        "body": base64.b64encode(body).decode(),
        "headers": {"Content-Type": kind} if body else {},
        "tls": tls,
        "pem": pem,
        "authority": paths.bundle(platform),
        "certificate": paths.certificate(platform, unit) if unit else "",
        "key": paths.key(platform, unit) if unit else "",
    }
    if source not in CONNECTED:
        CONNECTED[source] = inspect_host(site.inventory.host(source))
    told = base64.b64encode(json.dumps(wanted).encode()).decode()
    status, text = json.loads(CONNECTED[source].check_output("python3 -c %s %s", CALLER, told))
    return int(status), str(text)


def declared(site: Site) -> Traces:
    assert site.platform.observability.traces is not None
    return site.platform.observability.traces


def unit_of(site: Site) -> str:
    return f"{site.platform.platform}-traces.service"


def senders(site: Site) -> dict[str, str]:
    """One agent process of each host: the host's name, and the process's unit."""
    return {one.host: one.unit_name.removesuffix(".service") for one in site.topology.processes}


def field(number: int, content: bytes) -> bytes:
    """A field with a length, as protocol buffers write it (their encoding guide)."""
    length, head = len(content), bytes([number << 3 | 2])
    sizes = bytearray()
    while length > 127:
        sizes.append(length & 127 | 128)
        length >>= 7
    return head + bytes([*sizes, length]) + content


def make_span(trace: bytes) -> bytes:
    """A request with one span (opentelemetry.proto.collector.trace.v1), made without OpenTelemetry's library."""
    now = int(datetime.now(UTC).timestamp() * 1e9)
    times = b"".join(bytes([number << 3 | 1]) + now.to_bytes(8, "little") for number in (7, 8))
    span = field(1, trace) + field(2, secrets.token_bytes(8)) + field(5, b"groundwork-verify") + times
    attribute = field(1, b"openinference.project.name") + field(2, field(1, PROJECT.encode()))
    return field(1, field(1, field(1, attribute)) + field(2, field(2, span)))


def test_unit_runs_and_starts_with_the_host(host: Host, site: Site) -> None:
    service = host.service(unit_of(site))
    assert service.is_running
    assert service.is_enabled


def test_it_listens_at_its_place_alone(host: Host, site: Site, host_name: str) -> None:
    """Not at its port for gRPC either, which it would open to every address."""
    process = host.check_output("systemctl show --property=MainPID --value %s", unit_of(site))
    listening = host.check_output("ss -Hltunp").splitlines()
    own = {line.split()[4] for line in listening if f"pid={process}," in line}
    address = site.inventory.host(host_name).address
    assert own == {f"[{address}]:{declared(site).port}" if ":" in address else f"{address}:{declared(site).port}"}


def test_it_answers_root_and_the_agents(site: Site, host_name: str) -> None:
    assert call(site, host_name, "/readyz")[0] == 200
    for source, unit in senders(site).items():
        assert call(site, source, "/readyz", unit)[0] == 200


def test_nobody_gets_in_without_a_certificate(site: Site, host_name: str) -> None:
    for source in {host_name, *senders(site)}:
        assert call(site, source, "/v1/projects", "")[0] == 0
        assert call(site, source, "/v1/projects", "", tls=False)[0] == 0


def test_certificates_of_another_authority_and_expired_ones_are_refused(site: Site, host_name: str) -> None:
    now = datetime.now(UTC)
    foreign = create_intermediate(create_root(site.environment, "other", now), site.environment, "other", now)
    identity = next(one for one in site.topology.identities if (one.host, one.unit) == (host_name, TRACES))
    own = site.authority.issuer()
    trials = [(foreign, now, timedelta(minutes=10), False), (own, now, timedelta(minutes=10), True)]
    trials.append((own, now - timedelta(minutes=3), timedelta(minutes=1), False))
    for issuer, start, life, accepted in trials:
        leaf, key = make_leaf(issuer, identity, start, life)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        pem += "".join(one.public_bytes(Encoding.PEM).decode() for one in (leaf, issuer.certificate))
        assert (call(site, host_name, "/readyz", pem=pem)[0] == 200) is accepted


def test_a_span_of_every_host_with_agents_arrives(site: Site, host_name: str) -> None:
    sent = {}
    for source, unit in senders(site).items():
        sent[source] = secrets.token_bytes(16)
        body = make_span(sent[source])
        status, text = call(site, source, "/v1/traces", unit, method="POST", body=body, kind="application/x-protobuf")
        assert status == 200, text
    wanted = {trace.hex() for trace in sent.values()}
    found: set[str] = set()
    for _ in range(60):
        status, text = call(site, host_name, f"/v1/projects/{PROJECT}/spans?limit=1000")
        found = {one["context"]["trace_id"] for one in json.loads(text)["data"]} if status == 200 else set()
        if wanted <= found:
            break
        CONNECTED[host_name].run("sleep 0.5")
    call(site, host_name, f"/v1/projects/{PROJECT}", method="DELETE")
    assert wanted <= found


def test_traces_stay_as_long_as_declared(site: Site, host_name: str) -> None:
    query = "{defaultProjectTraceRetentionPolicy{cronExpression rule{... on TraceRetentionRuleMaxDays{maxDays}}}}"
    body = json.dumps({"query": query}).encode()
    status, text = call(site, host_name, "/graphql", method="POST", body=body)
    assert status == 200, text
    policy: dict[str, Any] = json.loads(text)["data"]["defaultProjectTraceRetentionPolicy"]
    assert policy["rule"]["maxDays"] == max(1, math.ceil(declared(site).retention / 86400))
    # Every night, not once a week.
    assert policy["cronExpression"] == "0 3 * * *"


def test_sandbox_is_tight(host: Host, site: Site) -> None:
    shown = host.run("systemd-analyze security --no-pager %s", unit_of(site)).stdout
    exposed = re.search(r"Overall exposure level .*: ([0-9.]+)", shown)
    assert exposed is not None and float(exposed[1]) <= EXPOSED_AT_MOST, shown.splitlines()[-1:]


def test_files_are_closed(host: Host, site: Site) -> None:
    platform = site.platform.platform
    state, key = host.file(f"/var/lib/{platform}-traces"), host.file(paths.key(platform, TRACES))
    assert (state.user, state.group, state.mode) == ("phoenix", "phoenix", 0o700)
    assert (key.user, key.mode) == ("phoenix", 0o400)
    program = host.check_output("systemctl show --property=ExecStart --value %s", unit_of(site))
    python = re.search(r"path=(\S+)", program)
    assert python is not None
    folder = host.file(python[1].removesuffix("/bin/python"))
    assert (folder.user, folder.group, folder.mode & 0o022) == ("root", "root", 0)


def test_only_hosts_with_agents_can_connect(host: Host, site: Site, host_name: str) -> None:
    allowed = host.check_output("systemctl show --property=IPAddressAllow --value %s", unit_of(site)).split()
    found = {network.partition("/")[0] for network in allowed if not network.startswith(("127.", "::1"))}
    hosts = {site.inventory.host(name).address for name in {host_name, *senders(site)}}
    assert found == hosts


@pytest.mark.role("agent_runtime")
def test_agents_are_told_where_to_send(host: Host, site: Site, host_name: str) -> None:
    if site.platform.observability.traces is None:
        pytest.skip("no traces are declared")
    traces = declared(site)
    address = site.inventory.group(traces.hosts)[0].address
    shown = f"[{address}]" if ":" in address else address
    for process in site.topology.processes_on(host_name):
        if process.in_container:
            continue
        told = host.check_output("systemctl show --property=Environment --value %s", process.unit_name)
        variables = dict(one.partition("=")[::2] for one in told.split())
        assert variables["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] == f"https://{shown}:{traces.port}/v1/traces"
        unit = process.unit_name.removesuffix(".service")
        key = paths.key(site.platform.platform, unit)
        assert variables["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"] == key
