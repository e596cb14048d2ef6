"""What collects traces is decided from the manifest: where, for whom, how long; and what agents are told of it."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from groundwork.coverage import check_coverage
from groundwork.inventory import Inventory, make_inventory
from groundwork.manifest.platform import Platform
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from groundwork.topology import derive
from groundwork.topology.model import Topology
from groundwork.topology.roles import roles_on
from roles.agent_runtime.environment import describe_traces, process_variables
from roles.traces import plan, release
from roles.traces.onhost import install_phoenix

DAY = 86_400


def make_platform(**traces: object) -> Platform:
    group = {"module": "m", "agents": {"seller": {"port": 8000}}}
    return Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "x"}, "launcher": "agent_runtime"},
            "groups": {"sales": {"hosts": "app", **group}},
            "observability": {"traces": {"hosts": "watch", **traces}} if traces is not None else {},
            "lab": {"hosts": {"one": ["app"]}},
        }
    )


def make_hosts(watching: int = 1) -> Inventory:
    hosts: dict[str, tuple[frozenset[str], dict[str, Any]]] = {
        f"watch-{n}": (frozenset({"watch"}), {"address": f"192.0.2.{n}"}) for n in range(1, watching + 1)
    }
    for number in (1, 2):
        hosts[f"app-{number}"] = (frozenset({"app"}), {"address": f"192.0.2.1{number}"})
    return make_inventory(hosts, "inventories/here.py")


def make_topology(platform: Platform, watching: int = 1) -> Topology:
    return derive(platform, make_hosts(watching), "here")


def make_collector(**traces: object) -> plan.Collector:
    platform = make_platform(**traces)
    one = plan.plan_collector(platform, make_topology(platform), "watch-1")
    assert one is not None
    return one


def test_every_process_may_send_its_spans_and_counts_on_nobody() -> None:
    platform = make_platform()
    flows = [flow for flow in make_topology(platform).flows if flow.port == 4318]
    assert {(f.source_host, f.source_unit, f.destination, f.required, f.reason) for f in flows} == {
        (f"app-{n}", "shop-seller@1.service", "192.0.2.1", False, "sales sends its spans") for n in (1, 2)
    }


def test_it_is_a_role_of_its_host_alone_with_an_identity() -> None:
    topology = make_topology(make_platform())
    assert "traces" in roles_on(topology, "watch-1")
    assert "traces" not in roles_on(topology, "app-1")
    (one,) = [identity for identity in topology.identities if identity.unit == "traces"]
    assert (one.host, one.owner.name, one.ip_addresses) == ("watch-1", "phoenix", ("192.0.2.1",))


def test_without_traces_there_is_nothing_of_it() -> None:
    platform = Platform.model_validate({**make_platform().model_dump(exclude_unset=True), "observability": {}})
    topology = make_topology(platform)
    assert not [flow for flow in topology.flows if flow.port == 4318]
    assert plan.plan_collector(platform, topology, "watch-1") is None
    assert plan.list_items(None) == []
    plan.check_platform(platform, topology)
    (process, _) = topology.processes
    assert not [key for key in process_variables(platform, topology, process)[0] if key.startswith("OTEL_")]


def test_agents_are_told_in_opentelemetrys_own_variables() -> None:
    platform = make_platform(sample_percent="12.5%")
    topology = make_topology(platform)
    told = process_variables(platform, topology, topology.processes[0])[0]
    folder = "/etc/groundwork/shop/certificates/shop-seller@1/current"
    assert {key: value for key, value in told.items() if key.startswith("OTEL_")} == {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://192.0.2.1:4318/v1/traces",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": "/etc/groundwork/shop/authority/bundle.pem",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE": f"{folder}/certificate.pem",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": f"{folder}/key.pem",
        "OTEL_SERVICE_NAME": "sales",
        "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop,service.instance.id=app-1/shop-seller%401,"
        "deployment.environment.name=here,host.name=app-1,openinference.project.name=shop",
        "OTEL_PROPAGATORS": "tracecontext,baggage",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.125",
    }


@pytest.mark.parametrize(("given", "told"), [(None, "1"), ("100", "1"), ("0", "0"), ("10", "0.1"), ("0.01", "0.0001")])
def test_the_share_is_a_number_between_none_and_all(given: str | None, told: str) -> None:
    platform = make_platform(**({} if given is None else {"sample_percent": Decimal(given)}))
    topology = make_topology(platform)
    assert describe_traces(platform, topology, topology.processes[0])["OTEL_TRACES_SAMPLER_ARG"] == told


@pytest.mark.parametrize(("seconds", "days"), [(1, 1), (DAY, 1), (DAY + 1, 2), (14 * DAY, 14), (1.5 * DAY, 2)])
def test_retention_is_in_whole_days(seconds: float, days: int) -> None:
    one = make_collector(retention=f"{int(seconds)}s")
    assert one.environment["PHOENIX_DEFAULT_RETENTION_POLICY_DAYS"] == str(days)


def test_the_unit_has_no_plain_way_in_and_asks_nobody() -> None:
    one = make_collector()
    text = render_template("traces/unit.service.j2", one=one, python="/opt/groundwork/shop-traces/1/bin/python")
    for line in (
        'Environment="PHOENIX_TLS_ENABLED=true"',
        'Environment="PHOENIX_TLS_VERIFY_CLIENT=true"',
        'Environment="PHOENIX_HOST=192.0.2.1"',
        'Environment="PHOENIX_TELEMETRY_ENABLED=false"',
        'Environment="PHOENIX_ALLOW_EXTERNAL_RESOURCES=false"',
        "IPAddressDeny=any",
    ):
        assert line in text.splitlines()
    assert set(re.findall(r"^IPAddressAllow=(.*)$", text, re.MULTILINE)) == {
        "localhost", "192.0.2.1", "192.0.2.11", "192.0.2.12",
    }  # fmt: skip


def test_several_hosts_and_names_for_addresses_are_refused() -> None:
    platform = make_platform()
    with pytest.raises(ProblemError) as error:
        plan.check_platform(platform, make_topology(platform, watching=2))
    (problem,) = error.value.problems
    assert (problem.key, problem.given) == ("observability.traces.hosts", "watch with 2 hosts")
    named = make_inventory({"one.example.org": (frozenset({"watch", "app"}), {})}, "inventories/here.py")
    with pytest.raises(ProblemError) as error:
        plan.check_platform(platform, derive(platform, named, "here"))
    assert [one.key for one in error.value.problems] == ["host one.example.org: address"]


def test_jaeger_is_refused_by_name() -> None:
    with pytest.raises(ProblemError) as error:
        check_coverage(make_platform(backend="jaeger"))
    (problem,) = error.value.problems
    assert (problem.key, problem.given, problem.allowed) == ("observability.traces.backend", "jaeger", "phoenix")


def test_everything_in_the_lock_has_a_digest() -> None:
    text = release.LOCK.read_text("utf-8")
    pinned = re.findall(r"^[A-Za-z0-9][^\n]*==[^\n]*\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[A-Za-z0-9].*==", text, re.MULTILINE)) > 100
    assert "://" not in text


def test_a_release_is_another_one_for_another_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = {release.name_release(*target) for target in (("3.11", "x86_64"), ("3.13", "x86_64"), ("3.13", "aarch64"))}
    assert len(names) == 3
    assert all(re.fullmatch(r"\d+\.\d+\.\d+\+[0-9a-f]{8}", name) for name in names)


def test_a_release_is_collected_once_and_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def download(folder: Path, python: str, machine: str, what: list[str], key: str) -> None:
        asked.append((python, machine, what))
        (folder / "one-1-py3-none-any.whl").write_bytes(b"wheel")

    monkeypatch.setattr(release, "download_wheels", download)
    first = release.collect_release(tmp_path, "3.13", "x86_64")
    assert release.collect_release(tmp_path, "3.13", "x86_64") == first
    assert asked == [("3.13", "x86_64", ["--require-hashes", "-r", str(release.LOCK)])]
    assert hashlib.sha256(first.archive.read_bytes()).hexdigest() == first.digest
    with tarfile.open(first.archive) as tar:
        assert sorted(tar.getnames()) == ["requirements.lock", "wheels/one-1-py3-none-any.whl"]


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    archive, target = tmp_path / "archive.tar", tmp_path / "releases" / "1"
    archive.write_bytes(b"something else")
    target.mkdir(parents=True)
    command = [sys.executable, install_phoenix.__file__, str(archive), "0" * 64, str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert not archive.exists()
    assert not (target / install_phoenix.MARKER).exists()


def test_releases_before_the_last_one_go(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / install_phoenix.MARKER).touch()
    (tmp_path / "half").mkdir()
    install_phoenix.prune(tmp_path / "3")
    assert {path.name for path in tmp_path.iterdir()} == {"2", "3"}
