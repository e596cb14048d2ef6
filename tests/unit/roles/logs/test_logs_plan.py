"""What of the role each host has, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from groundwork.authority.endpoints import list_tls_endpoints
from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest.platform import Platform
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from groundwork.topology import derive
from groundwork.topology.identities import journal_account, journal_source
from groundwork.topology.journals import file_pattern
from groundwork.topology.model import Topology
from groundwork.topology.roles import roles_on
from roles.logs import plan

HOSTS = {"app": "10.0.0.1", "data": "10.0.0.2", "log": "10.0.0.3"}


def make(machines: dict[str, str] = HOSTS, /, **logs: Any) -> tuple[Platform, Topology]:
    data: dict[str, Any] = {
        "version": 1,
        "platform": "shop",
        "runtime": {"package": {"directory": "x"}, "launcher": "m"},
        "groups": {"work": {"hosts": "app", "module": "m", "agents": {"worker": {"port": 9000}}}},
        "lab": {"hosts": {name: [name] for name in HOSTS}},
    }
    data |= {"observability": {"logs": logs}} if logs else {}
    platform = Platform.model_validate(data)
    hosts = tuple(InventoryHost(n, a, frozenset({n, "every"})) for n, a in machines.items())
    return platform, derive(platform, Inventory(hosts), "test")


def test_every_host_sends_and_one_keeps() -> None:
    platform, topology = make(hosts="log", retention="7d", retention_size="1GiB")
    plan.check_platform(platform, topology)
    upload = plan.plan_upload(platform, topology)
    assert upload
    assert (upload.url, upload.address) == ("https://10.0.0.3:19532", "10.0.0.3")
    stores = {name: plan.plan_store(platform, topology, name) for name in HOSTS}
    assert [name for name, store in stores.items() if store] == ["log"]
    store = stores["log"]
    assert store
    assert (store.listen, store.peers) == ("10.0.0.3:19532", tuple(sorted(HOSTS.values())))
    assert (store.retention, store.retention_size) == (7 * 86400, 1024**3)
    assert [source.account for source in store.sources] == ["journal.app", "journal.data", "journal.log"]
    assert all("logs" in roles_on(topology, name) for name in HOSTS)
    (endpoint,) = [one for one in list_tls_endpoints(platform, topology) if one.unit == "journal-store"]
    assert (endpoint.host, endpoint.port) == ("log", 19532)
    flows = {(f.source_host, f.destination_host, f.port) for f in topology.flows if f.source_unit == "journal-upload"}
    assert flows == {(name, "log", 19532) for name in HOSTS}


def test_where_none_is_declared_nothing_is_there() -> None:
    for logs in ({}, {"hosts": "log", "backend": "loki"}):
        platform, topology = make(**logs)
        plan.check_platform(platform, topology)
        assert plan.plan_upload(platform, topology) is None
        assert plan.plan_store(platform, topology, "log") is None
        assert plan.list_items(None, None) == []
        assert "logs" not in roles_on(topology, "log")


def test_two_log_hosts_and_too_little_room_are_refused_together() -> None:
    platform, topology = make(hosts="every", retention_size="64MiB")
    with pytest.raises(ProblemError) as refused:
        plan.check_platform(platform, topology)
    assert [(problem.key, problem.allowed) for problem in refused.value.problems] == [
        ("observability.logs.hosts", "1"),
        ("observability.logs.retention_size", "at least 96MiB"),
    ]


def test_a_host_that_is_named_is_not_filtered_by_its_address() -> None:
    platform, topology = make({**HOSTS, "log": "log.example.org", "app": "fd00::1"}, hosts="log")
    upload, store = plan.plan_upload(platform, topology), plan.plan_store(platform, topology, "log")
    assert upload
    assert store
    assert (upload.url, upload.address, store.peers) == ("https://log.example.org:19532", None, None)
    assert "IPAddress" not in render_template("logs/upload.service.j2", upload=upload)


def test_names_of_hosts_become_words_that_differ() -> None:
    names = ["app", "app.example.org", "@ssh/app2", "a b", "a/b", "a@b", "x" * 70, "x" * 71]
    sources = [journal_source(name) for name in names]
    assert sources[:3] == ["app", "app.example.org", "app2"]
    assert len(set(sources)) == len(names)
    assert all(len(journal_account(name)) <= 64 for name in names)
    assert all(part.isalnum() or part in "_.-" for source in sources for part in source)


def test_files_of_a_host_are_not_those_of_another_whose_name_begins_so() -> None:
    import re

    assert re.fullmatch(file_pattern("app"), "app.journal")
    assert re.fullmatch(file_pattern("app"), f"app@{'0' * 32}-{'1' * 16}-{'2' * 16}.journal")
    for other in ("app.example.journal", "app2.journal", "app.example@00-11.journal", "app.journal.bak"):
        assert not re.fullmatch(file_pattern("app"), other)


def test_each_host_is_known_by_its_certificate_alone() -> None:
    platform, topology = make(hosts="log")
    store = plan.plan_store(platform, topology, "log")
    text = render_template("logs/nginx.conf.j2", store=store)
    for index, name in enumerate(HOSTS, 1):
        assert f'"CN=journal.{name}" writer_{index};' in text
        assert f"server unix:/run/shop-journals/{name}/socket;" in text
    assert 'default "";' in text
    assert "ssl_verify_client on;" in text
