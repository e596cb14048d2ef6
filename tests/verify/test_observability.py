"""What watches is there, sees everything, and talks to nobody without a certificate of the environment's authority."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any
from urllib.parse import urlencode

import pytest
from testinfra.host import Host

from groundwork.authority import paths
from groundwork.site import Site
from groundwork.topology.identities import OPERATOR
from groundwork.topology.model import ScrapeTarget

EXPOSED_AT_MOST = 3.0
PACKAGED = (
    "prometheus", "prometheus-alertmanager", "prometheus-node-exporter", "prometheus-redis-exporter",
    "prometheus-postgres-exporter", "prometheus-blackbox-exporter",
)  # fmt: skip
# Asks a path over TLS with or without a certificate and prints the status and the body, or the name of the refusal.
CALLER = """
import http.client, json, ssl, sys
wanted = json.loads(sys.argv[1])
try:
    context = ssl.create_default_context(cafile=wanted["authority"])
    if wanted["certificate"]:
        context.load_cert_chain(wanted["certificate"], wanted["key"])
    kind = http.client.HTTPSConnection if wanted["tls"] else http.client.HTTPConnection
    more = {"context": context} if wanted["tls"] else {}
    connection = kind(wanted["address"], wanted["port"], timeout=15, **more)
    connection.request("GET", wanted["path"])
    answer = connection.getresponse()
    print(json.dumps([answer.status, answer.read().decode()]))
except (OSError, http.client.HTTPException) as error:
    print(json.dumps([0, "%s %s" % (type(error).__name__, error)]))
"""


def call(
    host: Host, site: Site, address: str, port: int, path: str, certificate: bool = True, tls: bool = True
) -> tuple[int, str]:
    """Status and body; status 0 and the reason where there is no answer."""
    platform = site.platform.platform
    wanted = {
        "address": address,
        "port": port,
        "path": path,
        "tls": tls,
        "authority": paths.bundle(platform),
        "certificate": paths.certificate(platform, OPERATOR) if certificate else "",
        "key": paths.key(platform, OPERATOR),
    }
    output = host.check_output("python3 -c %s %s", CALLER, json.dumps(wanted))
    status, body = json.loads(output)
    return int(status), str(body)


def own_targets(site: Site, host_name: str) -> list[ScrapeTarget]:
    """What is collected on a host from what this role runs."""
    jobs = (
        "node", "redis", "postgresql", "blackbox", "prometheus", "alertmanager",
        "services", "nginx", "pgbouncer", "nats",
    )  # fmt: skip
    return [one for one in site.topology.scrape_targets if one.host == host_name and one.job in jobs]


def on_prometheus(site: Site, host_name: str) -> tuple[str, int]:
    """Where this host's Prometheus listens; skips on others."""
    declared = site.platform.observability.prometheus
    machine = site.inventory.host(host_name)
    if declared is None or machine not in site.inventory.group(declared.hosts):
        pytest.skip("Prometheus runs elsewhere")
    return machine.address, declared.port


def ask(host: Host, site: Site, host_name: str, path: str) -> Any:
    """What Prometheus's interface answers."""
    address, port = on_prometheus(site, host_name)
    status, body = call(host, site, address, port, path)
    assert status == 200, body
    return json.loads(body)["data"]


def query(host: Host, site: Site, host_name: str, text: str) -> list[dict[str, Any]]:
    found = ask(host, site, host_name, f"/api/v1/query?{urlencode({'query': text})}")
    return list(found["result"])


def test_each_server_shows_its_metrics_to_a_certificate_only(host: Host, site: Site, host_name: str) -> None:
    for target in own_targets(site, host_name):
        status, body = call(host, site, target.address, target.port, target.path)
        assert status == 200, f"{target.job}: {body}"
        assert re.search(r"^(process|go|redis|pg|nginx|pgbouncer|gnatsd)_", body, re.M), target.job
        status, reason = call(host, site, target.address, target.port, "/metrics", certificate=False)
        assert status == 0, f"{target.job} lets in who shows no certificate"
        assert any(word in reason for word in ("SSL", "Reset", "Disconnected", "Pipe")), reason
        status, _ = call(host, site, target.address, target.port, "/metrics", certificate=False, tls=False)
        assert status != 200, f"{target.job} speaks plain HTTP"


def test_nothing_listens_beyond_its_address(host: Host, site: Site, host_name: str) -> None:
    allowed = {f"{target.address}:{target.port}" for target in own_targets(site, host_name)}
    listening = host.check_output("ss -Hltnp | grep -E 'prometheus|alertmanager|:9113 ' || true")
    found = {line.split()[3] for line in listening.splitlines()}
    assert found == allowed


def test_packages_own_servers_never_start(host: Host) -> None:
    for package in PACKAGED:
        if host.package(package).is_installed:
            unit = f"{package}.service"
            assert host.run("systemctl is-active %s", unit).stdout.strip() != "active"
            assert host.check_output("systemctl show -p LoadState --value %s", unit) == "masked"


def test_no_unit_is_more_exposed_than_it_may_be(host: Host, site: Site) -> None:
    name = site.platform.platform
    listed = host.check_output("systemctl list-units --no-legend --plain %s", f"{name}-*")
    units = [line.split()[0] for line in listed.splitlines()]
    ours = [unit for unit in units if re.search(r"-(exporter(-.*)?|prometheus|alertmanager)\.service$", unit)]
    assert ours
    for unit in ours:
        told = host.check_output("systemd-analyze security --no-pager %s | tail -1", unit)
        score = float(re.findall(r"([0-9]+\.[0-9]+)", told.replace(unit, ""))[-1])
        assert score <= EXPOSED_AT_MOST, told
        assert host.check_output("systemctl show -p User --value %s", unit) == "prometheus"


def test_secrets_are_for_those_who_need_them(host: Host, site: Site, host_name: str) -> None:
    folder = f"/etc/groundwork/{site.platform.platform}/observability"
    for line in host.check_output("find %s -type f -printf '%%m %%U:%%g %%p\\n'", folder).splitlines():
        mode, owner, path = line.split(" ", 2)
        assert int(mode, 8) & 0o027 == 0, line
        assert owner.startswith("0:"), line
        if "/redis-" in path:
            assert (int(mode, 8), owner) == (0o600, "0:root"), line


def test_the_hosts_own_checks_find_all_well(host: Host, site: Site) -> None:
    name = site.platform.platform
    done = host.run(f"groundwork-probe --file /etc/groundwork/{shlex.quote(name)}/observability/probes.json")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one for one in results if one["required"] and not one["ok"]] == []
    assert (done.rc, bool(results)) == (0, True), done.stderr
    # The timer has the same done every minute, for Prometheus.
    assert host.service(f"{name}-probe.timer").is_running
    written = host.check_output("stat -c %%Y %s", f"/var/lib/groundwork/metrics/{name}-probe.prom")
    assert float(host.check_output("date +%s")) - float(written) < 180


def test_prometheus_collects_from_everything(host: Host, site: Site, host_name: str) -> None:
    targets = ask(host, site, host_name, "/api/v1/targets?state=active")["activeTargets"]
    found = {(one["labels"]["job"], one["labels"]["instance"]) for one in targets}
    expected = set()
    for target in site.topology.scrape_targets:
        place = f"{target.address}:{target.port}"
        expected.add((target.job, f"https://{place}/" if dict(target.labels).get("exposure") else place))
    assert found == expected
    down = [(one["scrapeUrl"], one["lastError"]) for one in targets if one["health"] != "up"]
    assert down == []
    assert all(one["scrapeUrl"].startswith("https://") for one in targets)


def test_what_exporters_look_after_is_up(host: Host, site: Site, host_name: str) -> None:
    on_prometheus(site, host_name)
    for kind, metric in (("redis", "redis_up"), ("postgresql", "pg_up")):
        servers = [node for node in site.topology.nodes if node.kind == kind]
        values = [sample["value"][1] for sample in query(host, site, host_name, metric)]
        assert values == ["1"] * len(servers), kind
    failed = query(host, site, host_name, 'probe_success{required!="false"} == 0')
    assert failed == []


def test_every_objective_has_its_rules(host: Host, site: Site, host_name: str) -> None:
    groups = ask(host, site, host_name, "/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    objectives = {rule["labels"]["objective"] for rule in rules if "objective" in rule.get("labels", {})}
    promised = {
        name
        for name, one in site.platform.objectives.items()
        if one.availability is not None or one.error_rate is not None or one.latency
    }
    assert objectives == promised


def test_alerts_reach_alertmanager(host: Host, site: Site, host_name: str) -> None:
    declared = site.platform.observability.alertmanager
    found = ask(host, site, host_name, "/api/v1/alertmanagers")["activeAlertmanagers"]
    hosts = site.inventory.group(declared.hosts) if declared else ()
    port = declared.port if declared else 0
    assert {one["url"] for one in found} == {f"https://{one.address}:{port}/api/v2/alerts" for one in hosts}
    for one in hosts:
        status, body = call(host, site, one.address, port, "/api/v2/status")
        assert status == 200, body
        # Secrets of receivers are not told by its interface.
        early = json.loads(body)["versionInfo"]["version"].startswith("0.25")
        for receiver in declared.receivers.values() if declared else ():
            # Up to 0.25, that of Debian 12, the address of a webhook is no secret to Alertmanager.
            if not (early and receiver.kind == "webhook"):
                told = site.secret(receiver.secret).reveal() in body
                assert not told, f"the secret of a receiver of kind {receiver.kind} is shown"


def test_what_is_recorded_is_kept_as_long_as_declared(host: Host, site: Site, host_name: str) -> None:
    declared = site.platform.observability.prometheus
    assert declared is not None
    flags = ask(host, site, host_name, "/api/v1/status/flags")
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31_536_000}
    parts = re.findall(r"([0-9]+)([a-z])", flags["storage.tsdb.retention.time"])
    assert sum(int(count) * seconds[unit] for count, unit in parts) == declared.retention
    assert (flags["storage.tsdb.retention.size"] != "0B") == bool(declared.retention_size)


def test_configurations_are_what_their_programs_accept(host: Host, site: Site, host_name: str) -> None:
    on_prometheus(site, host_name)
    folder = f"/etc/groundwork/{site.platform.platform}/observability"
    done = host.run(f"runuser -u prometheus -- promtool check config {shlex.quote(folder)}/prometheus.yml")
    assert done.rc == 0, done.stdout + done.stderr
