"""What watches on which host, and that the programs themselves accept what they are given."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest import load
from groundwork.manifest.platform import Platform
from groundwork.objectives.files import dump, render_platform_rules
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from groundwork.topology import Topology, derive
from groundwork.topology.model import Flow
from roles.observability import figures, paths, plan, scraping
from roles.observability.rules import make_platform_rules
from tests.unit.objectives.tools import PROMTOOL, promtool
from tests.unit.topology.systems import minimal

ROOT = Path(__file__).parents[4]
HOSTS = {"one": ("red",), "two": ("red", "green"), "three": ("blue",)}
OBSERVABILITY = {
    "prometheus": {"hosts": "blue", "retention": "15d", "retention_size": "1GB"},
    "alertmanager": {"hosts": "blue"},
}


def make_platform(**parts: Any) -> Platform:
    services = {
        "redis": {"kind": "redis", "hosts": "green"},
        "nats": {"kind": "nats", "hosts": "green"},
        "bank": {"kind": "external", "address": "bank.example.org", "port": 443},
    }
    exposure = {"web": {"hosts": "red", "server_names": ["shop.example.org"], "routes": {"/": "worker"}}}
    objectives = {"work": {"groups": ["work"], "availability": 99.9}}
    data = {"services": services, "exposure": exposure, "objectives": objectives, "observability": OBSERVABILITY}
    return Platform.model_validate(minimal(**{**data, **parts}))


def make_topology(platform: Platform, **more: tuple[str, ...]) -> Topology:
    members = {**HOSTS, **more}
    hosts = [InventoryHost(n, f"10.0.0.{i + 1}", frozenset(g)) for i, (n, g) in enumerate(members.items())]
    return derive(platform, Inventory(tuple(hosts), "inventory.py"), "test")


def names(platform: Platform, host: str) -> list[str]:
    return [server.name for server in plan.plan_servers(platform, make_topology(platform), host)]


def test_each_host_has_what_it_needs_and_no_more() -> None:
    platform = make_platform()
    assert names(platform, "one") == ["sample-node-exporter", "sample-service-exporter"]
    assert names(platform, "two") == [
        "sample-node-exporter", "sample-redis-exporter-redis-1", "sample-service-exporter",
    ]  # fmt: skip
    assert names(platform, "three") == [
        "sample-node-exporter", "sample-blackbox-exporter", "sample-prometheus", "sample-alertmanager",
    ]  # fmt: skip


def test_the_exporter_of_services_shows_what_its_host_has() -> None:
    pooled = {"kind": "postgresql", "hosts": "green", "databases": {"main": {}}, "pgbouncer": {"port": 6432}}
    platform = make_platform(services={"nats": {"kind": "nats", "hosts": "green"}, "store": pooled})
    settings = figures.make_figures(platform, make_topology(platform), "two")
    assert (settings["address"], settings["port"]) == ("10.0.0.2", 9113)
    assert settings["targets"] == {
        "/nats/nats-1": {"kind": "nats", "address": "127.0.0.1", "port": 8222},
        "/nginx": {"kind": "nginx", "address": "127.0.0.1", "port": 9112},
        "/pgbouncer/store-1": {"kind": "pgbouncer", "address": "10.0.0.2", "port": 6432, "user": "exporter"},
    }
    paths_seen = {(t.job, t.path) for t in make_topology(platform).scrape_targets if t.port == 9113}
    assert paths_seen == {("services", "/metrics"), *((p.split("/")[1], p) for p in settings["targets"])}
    assert figures.list_own_figures(platform, make_topology(platform), "three") == []


def test_a_platform_without_prometheus_has_nothing() -> None:
    platform = make_platform(observability={})
    topology = make_topology(platform)
    assert [plan.plan_servers(platform, topology, host) for host in HOSTS] == [[], [], []]
    assert plan.list_items("sample", []) == []
    assert not any(one.unit in ("exporter", "prometheus") for one in topology.identities)
    assert not [flow for flow in topology.flows if flow.source_unit == "prometheus"]


def test_flows_are_those_of_the_targets_and_the_alerts() -> None:
    topology = make_topology(make_platform())
    flows = [flow for flow in topology.flows if flow.source_unit == "prometheus"]
    assert {flow.source_host for flow in flows} == {"three"}
    targets = {(target.host, target.address, target.port) for target in topology.scrape_targets}
    assert {(f.destination_host, f.destination, f.port) for f in flows} == targets
    assert Flow("three", "prometheus", "three", "10.0.0.3", 9093, "tcp", "prometheus hands its alerts over") in flows
    ports = {(target.job, target.port) for target in topology.scrape_targets}
    assert ports == {
        ("agent", 9000), ("node", 9100), ("redis", 9121), ("prometheus", 9090), ("blackbox", 9115),
        ("services", 9113), ("nginx", 9113), ("nats", 9113),
        ("alertmanager", 9093), ("probe", 4222), ("probe", 443),
    }  # fmt: skip


def test_another_host_in_the_inventory_changes_its_jobs_files_and_nothing_else() -> None:
    platform = make_platform()
    before, after = make_topology(platform), make_topology(platform, four=("red",))
    assert scraping.make_prometheus(platform, before, "10.0.0.3") == scraping.make_prometheus(
        platform, after, "10.0.0.3"
    )
    files = [
        {job: scraping.render_targets(found) for job, found in scraping.list_jobs(topology).items()}
        for topology in (before, after)
    ]
    assert {job for job in files[1] if files[0][job] != files[1][job]} == {
        "agent", "node", "probe", "nginx", "services",
    }  # fmt: skip
    added = next(entry for entry in json.loads(files[1]["agent"]) if entry["targets"] == ["10.0.0.4:9000"])
    assert added["labels"]["host"] == "four"


def test_every_scrape_is_mutual_tls() -> None:
    platform = make_platform()
    configuration = scraping.make_prometheus(platform, make_topology(platform), "10.0.0.3")
    for part in (*configuration["scrape_configs"], *configuration["alerting"]["alertmanagers"]):
        assert part["scheme"] == "https"
        assert {"ca_file", "cert_file", "key_file"} <= set(part["tls_config"])
        assert "insecure_skip_verify" not in part["tls_config"]
    web = scraping.make_web("sample", "exporter")["tls_server_config"]
    assert web["client_auth_type"] == "RequireAndVerifyClientCert"


def test_agents_are_scraped_more_often_than_exporters() -> None:
    platform = make_platform()
    configuration = scraping.make_prometheus(platform, make_topology(platform), "10.0.0.3")
    assert configuration["global"]["scrape_interval"] == "30s"
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    assert jobs["agent"]["scrape_interval"] == "15s"
    assert "scrape_interval" not in jobs["node"]


def test_hosts_whose_journal_does_not_arrive_are_told_of_where_journals_are_collected() -> None:
    def rules(**observability: Any) -> dict[str, Any]:
        platform = make_platform(observability={**OBSERVABILITY, **observability})
        made = make_platform_rules(platform, make_topology(platform))["groups"][0]["rules"]
        return {rule["alert"]: rule["expr"] for rule in made}

    assert "JournalSilent" not in rules()
    # Not of hosts that have left: what they sent is kept.
    assert 'source=~"one|two|three"' in rules(logs={"hosts": "blue"})["JournalSilent"]


@PROMTOOL
@pytest.mark.parametrize("name", ["support", "ai-system", "ymera"])
def test_promtool_accepts_the_platforms_configuration(name: str, tmp_path: Path) -> None:
    platform = load(ROOT / "platforms", name, "production", root=ROOT).platform
    groups = sorted({group for host in platform.lab.hosts.values() for group in host.groups})
    hosts = [InventoryHost(f"h{i}", f"10.0.0.{i + 1}", frozenset({group})) for i, group in enumerate(groups)]
    hosts += [InventoryHost(f"r{i}", f"10.0.1.{i + 1}", frozenset({"redis"})) for i in range(5) if name == "ai-system"]
    topology = derive(platform, Inventory(tuple(hosts), "inventory.py"), "test")
    plan.check_platform(platform, topology)
    text = dump(scraping.make_prometheus(platform, topology, "10.0.0.1"))
    for part, rules in (
        ("objectives", render_platform_rules(platform)),
        ("platform", dump(make_platform_rules(platform, topology))),
    ):
        (tmp_path / f"{part}.yml").write_text(rules)
        promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / f"{part}.yml"))
        text = text.replace(paths.rules(name, part), str(tmp_path / f"{part}.yml"))
    (tmp_path / "prometheus.yml").write_text(text)
    promtool("check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_no_unit_is_more_exposed_than_3(tmp_path: Path) -> None:
    services = {"redis": {"kind": "redis", "hosts": "blue"}, "postgresql": {"kind": "postgresql", "hosts": "blue", "databases": {"main": {}}}}  # fmt: skip  # noqa: E501
    platform = make_platform(services=services)
    servers = plan.plan_servers(platform, make_topology(platform), "three")
    assert {server.kind for server in servers} == {
        "node", "redis", "postgresql", "blackbox", "prometheus", "alertmanager",
    }  # fmt: skip
    for server in servers:
        text = render_template("observability/unit.service.j2", server=server, address="10.0.0.3", open_files=1024)
        path = tmp_path / server.unit
        path.write_text(text.replace(server.program, "/bin/true"))
        command = ["systemd-analyze", "security", "--offline=true", "--threshold=30", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{server.unit}: {done.stdout[-300:]}{done.stderr[-300:]}"


def test_no_secret_is_in_a_unit() -> None:
    platform = make_platform()
    for server in plan.plan_servers(platform, make_topology(platform), "two"):
        text = render_template("observability/unit.service.j2", server=server, address="10.0.0.2", open_files=1024)
        assert "password=" not in text
        assert ("LoadCredential=" in text) == (server.kind == "redis")


@pytest.mark.parametrize(
    ("observability", "told"),
    [
        ({"alertmanager": {"hosts": "blue"}}, "is required where there is an Alertmanager"),
        ({**OBSERVABILITY, "alertmanager": {"hosts": "red"}}, "two would tell everything twice"),
    ],
)
def test_what_cannot_be_watched_is_refused(observability: dict[str, Any], told: str) -> None:
    platform = make_platform(observability=observability)
    with pytest.raises(ProblemError, match=told):
        plan.check_platform(platform, make_topology(platform))


def test_an_exporters_port_is_refused_to_agents() -> None:
    groups = {"work": {"hosts": "red", "module": "m", "agents": {"worker": {"port": 9100}}}}
    with pytest.raises(ProblemError, match="9100"):
        make_topology(make_platform(groups=groups))
