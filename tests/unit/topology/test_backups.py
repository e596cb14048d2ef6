"""The policy: which jobs follow, and what is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest

from groundwork.inventory import Inventory, InventoryHost
from groundwork.manifest.platform import Platform
from groundwork.problems import ProblemError
from groundwork.topology import Topology, derive
from groundwork.topology import backups as policy

INVENTORY = Inventory(
    (
        InventoryHost("app", "10.0.0.1", frozenset({"app"})),
        InventoryHost("data", "10.0.0.2", frozenset({"data"})),
        InventoryHost("spare", "10.0.0.3", frozenset({"spare", "vault"})),
        InventoryHost("other", "10.0.0.4", frozenset({"vault"})),
    ),
    "inventory.py",
)
ITEMS: dict[str, Any] = {
    "cache": {"what": "redis", "service": "cache", "schedule": "hourly"},
    "files": {"what": "files", "hosts": "app", "paths": ["/srv/models"]},
    "settings": {"what": "configuration", "hosts": "app", "paths": ["/srv/settings"]},
    "authority": {"what": "authority"},
}


def make(items: dict[str, Any] | None = None, **backup: Any) -> Topology:
    data = {
        "platform": "sample",
        "runtime": {"package": {"wheel": "sample.whl"}, "launcher": "sample"},
        "groups": {"work": {"hosts": "app", "module": "m", "agents": {"worker": {"port": 9000}}}},
        "services": {
            "cache": {"kind": "redis", "hosts": "data", "port": 6379},
            "database": {"kind": "postgresql", "hosts": "data", "databases": {"sample": {}}},
        },
        "backup": {"repository": {"kind": "host", "hosts": "spare"}, "items": items or ITEMS, **backup},
        "lab": {"hosts": {"one": ["app", "data", "spare", "vault"]}},
    }
    make.platform = Platform.model_validate(data)  # type: ignore[attr-defined]
    return derive(make.platform, INVENTORY, "test")  # type: ignore[attr-defined]


def jobs(topology: Topology) -> list[policy.Job]:
    return list(policy.list_jobs(make.platform, topology))  # type: ignore[attr-defined]


def problems(items: dict[str, Any] | None = None, **backup: Any) -> list[str]:
    with pytest.raises(ProblemError) as raised:
        make(items, **backup)
    return [f"{one.key}: {one.message}" for one in raised.value.problems]


def test_jobs_follow_from_hosts_and_services() -> None:
    found = {job.item: job for job in jobs(make())}
    assert {name: job.host for name, job in found.items()} == {
        "cache": "data",
        "files": "app",
        "settings": "app",
        "authority": "spare",
    }
    assert [node.port for node in found["cache"].nodes] == [6379]
    assert found["files"].paths == ("/srv/models",)
    assert set(found["settings"].paths) > {"/etc", "/srv/settings"}
    assert found["cache"].repositories[0].address == "10.0.0.3"
    assert [job.item for job in found.values() if job.only_here] == ["authority"]


def test_a_copy_elsewhere_means_it_is_not_only_here() -> None:
    copies = [{"kind": "host", "hosts": "app"}, {"kind": "directory", "path": "/mnt/share"}]
    found = jobs(make(copies=copies))
    assert not any(job.only_here for job in found)
    assert [one.name for one in found[0].repositories] == ["main", "copy-1", "copy-2"]


def test_flows_identities_and_secrets_follow() -> None:
    topology = make()
    flows = {(f.source_host, f.destination_host, f.port) for f in topology.flows if f.source_unit == policy.CLIENT}
    assert flows == {("app", "spare", 8743), ("data", "spare", 8743), ("spare", "spare", 8743)}
    units = {(one.host, one.unit) for one in topology.identities if one.unit in (policy.CLIENT, policy.SERVER)}
    assert units == {
        ("app", "backup"),
        ("data", "backup"),
        ("spare", "backup"),
        ("spare", "backup-repository"),
    }
    assert {"backup_encryption", "backup_cache", "backup_files"} <= topology.secret_declarations.keys()
    needs = {(one.name, one.host) for one in topology.secret_needs if one.unit == policy.CLIENT}
    # A host is given the logins of its own items, and of no other.
    assert ("backup_cache", "data") in needs
    assert ("backup_cache", "app") not in needs


def test_what_is_not_done_is_left_out_by_name() -> None:
    items = {**ITEMS, "cluster": {"what": "kubernetes", "hosts": "app"}}
    topology = make(items)
    left_out = policy.list_left_out(make.platform)  # type: ignore[attr-defined]
    assert list(left_out) == ["backup.items.cluster"]
    assert "cluster" not in {job.item for job in jobs(topology)}
    assert "backup_cluster" not in topology.secret_declarations


def test_every_mistake_is_refused_with_its_place() -> None:
    items = {
        "a": {"what": "files", "hosts": "nowhere", "paths": ["/srv"]},
        "b": {"what": "redis", "service": "cache", "paths": ["/srv"]},
        "c": {"what": "configuration"},
        "d": {"what": "authority", "hosts": "app"},
        "e": {"what": "files", "hosts": "app", "paths": ["/srv"], "full_schedule": "weekly"},
        "f": {"what": "redis", "service": "cache", "retention": {"daily": 0, "weekly": 0, "monthly": 0}},
    }
    assert problems(items) == [
        "backup.items.a.hosts: the inventory has no hosts in this group",
        "backup.items.b.paths: has no meaning for redis",
        "backup.items.c.hosts: configuration need hosts",
        "backup.items.d.hosts: has no meaning for authority",
        "backup.items.e.full_schedule: has no meaning here",
        "backup.items.f.retention: keeps no backup at all",
    ]


def test_a_repository_lies_on_one_host_and_in_one_place() -> None:
    assert problems(repository={"kind": "host", "hosts": "vault"}) == [
        "backup.repository.hosts: one repository lies on one host"
    ]
    assert problems(copies=[{"kind": "host", "hosts": "spare", "port": 8744}]) == [
        "backup.copies.0.path: is the same place as backup.repository"
    ]
    clash = problems(repository={"kind": "host", "hosts": "data", "port": 6379})
    assert clash == ["backup.repository.port: on host data this port is taken by services.cache.port"]
