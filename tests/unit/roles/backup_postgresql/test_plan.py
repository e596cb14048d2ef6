"""What the role plans for each host: sides, settings, refusals, and what it removes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundwork.inventory import make_inventory
from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import check_item
from groundwork.operations.rendering import render_secret, render_template
from groundwork.problems import ProblemError
from groundwork.secrets.value import SecretValue
from groundwork.topology import Topology, derive
from roles.backup_postgresql import plan

GIBIBYTE = 1024**3


def make(repository: dict[str, Any], group: str = "sales", **item: Any) -> tuple[Platform, Topology]:
    platform = Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "."}, "launcher": "shop"},
            "services": {"store": {"kind": "postgresql", "hosts": "data", "databases": {"shop": {}}, "pgbouncer": {}}},
            "groups": {group: {"hosts": "app", "module": "shop.sales", "needs": ["store"], "agents": {"seller": {}}}},
            "backup": {
                "repository": repository,
                "items": {"base": {"what": "postgresql", "service": "store", **item}},
            },
            "lab": {"hosts": {"host": ["app", "data", "vault"]}},
        }
    )
    table = {
        name: (frozenset([name]), {"ssh_hostname": f"10.0.0.{number}"})
        for number, name in enumerate(("data", "app", "vault"), 1)
    }
    return platform, derive(platform, make_inventory(table, "inventory"), "test")


def one_side(host: str, repository: dict[str, Any] | None = None, **item: Any) -> plan.Side:
    platform, topology = make(repository or {"kind": "host", "hosts": "vault"}, **item)
    plan.check_platform(platform, topology)
    (side,) = plan.plan_sides(platform, topology, host)
    return side


def render(side: plan.Side) -> list[str]:
    text = render_secret(
        "backup_postgresql/stanza.conf.j2",
        side=side, archive=side.archive, state="/state", passphrase=SecretValue("secret-passphrase"),
        settled=plan.SETTLED, port=8432, queue=GIBIBYTE, version=17, certificate="/c", key="/k", bundle="/b",
    )  # fmt: skip
    return text.reveal().splitlines()


def test_only_who_keeps_the_repository_has_the_passphrase() -> None:
    keeper, database = render(one_side("vault")), render(one_side("data"))
    assert "repo1-cipher-pass=secret-passphrase" in keeper
    assert "pg1-host=data" in keeper
    assert not any("cipher" in line or "secret" in line for line in database)
    assert "repo1-host=vault" in database
    assert f"archive-push-queue-max={GIBIBYTE}" in database
    local = render(one_side("data", {"kind": "directory", "path": "/mnt/share"}))
    assert "repo1-path=/mnt/share/pgbackrest/store" in local
    assert not any("host=" in line for line in local)


def test_the_server_lets_in_the_other_side_for_one_archive() -> None:
    for host, line in (
        ("vault", "tls-server-auth=pgbackrest-store=shop-store"),
        ("data", "tls-server-auth=pgbackrest=shop-store"),
    ):
        side = one_side(host)
        text = render_template(
            "backup_postgresql/server.conf.j2",
            sides=[side], port=8432, state="/state", certificate="/c", key="/k", bundle="/b",
        )  # fmt: skip
        assert [one for one in text.splitlines() if one.startswith("tls-server-auth")] == [line]
        assert f"tls-server-address={side.address}" in text


def test_other_hosts_have_no_part() -> None:
    platform, topology = make({"kind": "host", "hosts": "vault"})
    assert plan.plan_sides(platform, topology, "app") == []


def test_timers_follow_the_policy() -> None:
    assert one_side("vault").timers() == {"diff": "daily"}
    assert one_side("vault", schedule="hourly", full_schedule="weekly").timers() == {"full": "weekly", "diff": "hourly"}
    assert one_side("data", full_schedule="weekly").timers() == {}


def test_the_program_is_told_what_it_needs() -> None:
    side = one_side("data")
    told = json.loads(plan.describe_side(side, 17))
    assert told["unit"] == "postgresql@17-main.service"
    assert told["pool_unit"] == "pgbouncer.service"
    assert told["databases"] == ["shop"]
    told = json.loads(plan.describe_side(one_side("vault"), 17))
    assert told["account"] == "pgbackrest"
    assert told["full_every"] == plan.WEEK
    assert "unit" not in told


@pytest.mark.parametrize(
    ("disk", "queue"), [(0, 256 << 20), (8 * GIBIBYTE, GIBIBYTE), (4096 * GIBIBYTE, 64 * GIBIBYTE)]
)
def test_what_may_wait_is_an_eighth_of_the_disk(disk: int, queue: int) -> None:
    assert plan.choose_queue(disk) == queue


def test_the_version_is_that_of_the_other_role() -> None:
    declared = one_side("data").declared
    assert plan.choose_version(declared, "12", []) == 15
    assert plan.choose_version(declared, "13", [17]) == 17
    assert plan.choose_version(declared.model_copy(update={"version": 16}), "13", []) == 16
    assert plan.choose_version(declared, "", []) == 0


def test_names_of_certificates_are_no_groups() -> None:
    platform, topology = make({"kind": "host", "hosts": "vault"}, group="pgbackrest-store")
    with pytest.raises(ProblemError, match="name of pgBackRest's certificates"):
        plan.check_platform(platform, topology)


def test_stores_of_objects_are_refused_by_name() -> None:
    platform, topology = make({"kind": "s3", "bucket": "b", "endpoint": "https://s", "credentials_secret": None})
    with pytest.raises(ProblemError, match="S3-compatible"):
        plan.check_platform(platform, topology)


def test_what_is_removed_is_no_repository_and_no_state() -> None:
    sides = [one_side("vault", full_schedule="weekly")]
    items = plan.list_items("shop", sides)
    assert [check_item(item) for item in items] == [""] * len(items)
    assert not [item for item in items if item.name.startswith("/var/")]
    assert {item.name for item in items if item.kind == "unit"} == {
        "shop-pgbackrest.service", "shop-pgbackrest-store@.service", "shop-pgbackrest-store-full.timer",
        "shop-pgbackrest-store-diff.timer",
    }  # fmt: skip
    assert plan.list_items("shop", []) == []
