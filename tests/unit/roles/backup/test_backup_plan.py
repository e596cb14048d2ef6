"""What each host carries: settings without passwords, servers as their roles have them, units that are sandboxed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from groundwork.authority import paths
from groundwork.backup import carrying, layout, stopping
from groundwork.backup.restoring import check_parts
from groundwork.operations.ledger_items import Item, check_item
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from groundwork.site import load_site
from groundwork.topology import backups
from groundwork.topology.roles import roles_on
from roles.backup import plan
from roles.backup.preflight import check_site
from roles.backup.servers import describe_server
from roles.nats import plan as nats_plan
from roles.redis import plan as redis_plan
from tests.unit.preflight.projects import Project


def with_nats(project: Project) -> None:
    nats = {"kind": "nats", "hosts": "data", "jetstream": {"memory_max": "64MiB", "file_max": "512MiB"}}
    project.manifest["services"]["nats"] = nats
    project.manifest["backup"]["items"]["messages"] = {"what": "nats", "service": "nats", "schedule": "hourly"}


def test_servers_are_described_as_their_roles_have_them(project: Project) -> None:
    with_nats(project)
    site = project.load()
    (redis,) = redis_plan.plan_servers(site.platform, site.topology, "data", 0)
    (node,) = site.topology.nodes_on("data", "redis")
    found = describe_server("chorus", node)
    wanted = {"unit": redis.unit, "password_file": redis.operator_password, "data_folder": redis.data_folder}
    assert found == wanted | {"instance": redis.instance, "address": redis.address, "port": redis.port}
    (nats,) = nats_plan.plan_servers(site.platform, site.topology, "data")
    (node,) = site.topology.nodes_on("data", "nats")
    found = describe_server("chorus", node)
    assert found["unit"] == nats.unit
    assert (found["certificate"], found["key"]) == (
        paths.certificate("chorus", nats.identity),
        paths.key("chorus", nats.identity),
    )


def test_each_host_has_its_jobs_and_what_it_keeps(project: Project) -> None:
    site = project.complete()
    data = plan.plan_host(site.platform, site.topology, "data")
    app = plan.plan_host(site.platform, site.topology, "app")
    assert {job.item for job in data.jobs} == {"redis", "authority", "secrets"}
    assert {job.item for job in app.jobs} == {"configuration"}
    assert [one.name for one in data.kept] == ["main"]
    assert [one.name for one in app.kept] == ["copy-1"]
    assert "rclone" in data.packages
    # A host has the logins of its own items and of no other.
    assert "backup_redis" in data.secrets
    assert "backup_redis" not in app.secrets
    assert "backup" in roles_on(site.topology, "app")


def test_settings_hold_no_password(project: Project) -> None:
    site = project.complete()
    values = [site.secret(name).reveal() for name in site.topology.secret_declarations]
    for host in ("app", "data"):
        planned = plan.plan_host(site.platform, site.topology, host)
        texts = [plan.describe_job(site.platform, site.topology, job, "1") for job in planned.jobs]
        texts += [
            plan.describe_kept(site.platform, site.topology, one, item, "1")
            for one in planned.kept
            for item in planned.items
        ]
        for text in texts:
            assert not any(value in text for value in values)
            assert json.loads(text)["environment"] == "farm"
        for item in plan.list_items("chorus", planned):
            assert check_item(item) == "", item
    assert Item("unit", "groundwork-chorus-backup-redis.timer") in plan.list_items("chorus", planned)
    assert plan.list_items("chorus", plan.HostPlan((), (), ())) == []


def test_logins_are_what_rclone_reads() -> None:
    (line,) = plan.render_logins([("notes", "a-password")]).splitlines()
    name, _, digest = line.partition(":{SHA}")
    assert name == "notes"
    assert base64.b64decode(digest) == hashlib.sha1(b"a-password").digest()


def test_an_address_of_six_parts_is_bracketed(project: Project) -> None:
    site = project.load()
    job = backups.jobs_on(site.platform, site.topology, "data")[0]
    repository = backups.Repository("main", "host", "/srv", "backup_encryption", "data", "2001:db8::1", 8743)
    place = plan._describe_place("chorus", job.item, repository)
    assert place["location"].startswith("rest:https://[2001:db8::1]:8743/")


def test_a_host_without_an_ip_address_is_refused(project: Project) -> None:
    project.load()
    inventory = project.root / "inventories/farm.py"
    named = project.root / "inventories/named.py"
    # The address of its SSH is a name, and no other is given.
    named.write_text(re.sub(r"'address': '192.0.2.1'", "'ssh_hostname': 'app.example.org'", inventory.read_text()))
    site = load_site("named", project.root)
    with pytest.raises(ProblemError, match="need the IP address of this host"):
        plan.plan_host(site.platform, site.topology, "data")


def test_units_name_what_they_may_reach(project: Project) -> None:
    site = project.load()
    (job,) = backups.jobs_on(site.platform, site.topology, "app")
    data: dict[str, Any] = {
        "job": job, "platform": "chorus", "command": "/usr/bin/true", "figures": "/a", "metrics": "/b", "state": "c",
        "addresses": plan.list_addresses(job, "192.0.2.1"), "writable": ["/mnt/share"], "timer_instance": "t",
    }  # fmt: skip
    unit = render_template("backup/job.service.j2", **data)
    assert re.findall(r"IPAddressAllow=(.*)", unit) == ["localhost", "192.0.2.1", "192.0.2.2"]
    assert "ReadWritePaths=-/mnt/share" in unit
    assert "ProtectSystem=strict" in unit
    timer = render_template("backup/job.timer.j2", **data)
    assert f"OnCalendar={job.schedule}" in timer


def test_preflight_names_what_is_lost_with_its_host(project: Project) -> None:
    del project.manifest["backup"]["copies"]
    project.manifest["backup"]["items"]["cluster"] = {"what": "kubernetes", "hosts": "app"}
    found = {one.id: one for one in check_site(project.load())}
    assert "redis of data" in found["backup.elsewhere"].evidence
    assert "backup.items.cluster" in found["backup.left_out"].evidence


def test_what_is_carried_is_encrypted_and_never_the_key(project: Project) -> None:
    project.data["secrets_key"] = f"{project.root}/secrets/farm.agekey"
    site = project.complete()
    assert site.secrets_key.exists()
    names = {name for kind in ("authority", "secrets") for name, _ in carrying.list_files(site, kind)}
    assert {"platforms/chorus.yaml", "inventories/farm.py", "secrets/backup_encryption.age"} <= names
    assert any(name.startswith("authority/1/") and name.endswith(".key.age") for name in names)
    assert not any(name.endswith("agekey") for name in names)
    for kind in ("authority", "secrets"):
        for _, path in carrying.list_files(site, kind):
            assert b"AGE-SECRET-KEY" not in path.read_bytes()
            assert b"PRIVATE KEY" not in path.read_bytes()
    before = carrying.compute_digest(site, "secrets")
    (project.root / "group_data/extra.py").write_text("x = 1\n")
    assert carrying.compute_digest(site, "secrets") != before
    # Another copy of a key among the secrets is refused, not carried.
    (site.secrets_folder / "copy-of-key").write_bytes(site.secrets_key.read_bytes())
    (job,) = (one for one in backups.list_jobs(site.platform, site.topology) if one.item == "secrets")
    with pytest.raises(ProblemError, match="is not carried"):
        carrying.carry(site, job)


def test_users_of_the_data_stop_the_other_way_round(project: Project) -> None:
    site = project.load()
    jobs = check_parts(site, ["redis"])
    users = stopping.find_users(site, jobs)
    layers = {name: number for number, layer in enumerate(site.topology.start_order) for name in layer}
    numbers = [layers[f"group:{process.group}"] for process in users]
    assert numbers == sorted(numbers)
    assert users
    # Configuration of a host concerns every process on it.
    on_app = stopping.find_users(site, check_parts(site, ["config"]))
    assert {one.host for one in on_app} == {"app"}
    assert set(on_app) == set(site.topology.processes_on("app"))


@pytest.mark.parametrize(
    ("only", "told"),
    [
        (["redis", "discs"], "is nothing to restore .given discs"),
        (["postgresql"], "has no item of this kind"),
        ([], "name the parts"),
        (["nats"], "has no item of this kind"),
    ],
)
def test_what_cannot_be_restored_is_refused(project: Project, only: list[str], told: str) -> None:
    with pytest.raises(ProblemError, match=told):
        check_parts(project.load(), only)


def test_a_replicated_redis_is_refused_by_name(project: Project) -> None:
    project.manifest["services"]["redis"] |= {"mode": "replicated", "nodes_per_host": 2}
    with pytest.raises(ProblemError, match=r"services\.redis\.mode"):
        check_parts(project.load(), ["redis"])


def test_places_do_not_meet() -> None:
    units = [*layout.job_units("a", "b"), *layout.keeper_units("a", ["main", "copy-1"])]
    assert len(set(units)) == len(units)
    assert layout.job_instance("a", "b", "timer") == "groundwork-a-backup-b@timer.service"
