from __future__ import annotations

import pytest
from servers import HOST, make, one_server

from groundwork.authority import paths
from groundwork.operations.ledger_items import check_item
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from roles.postgresql import plan
from roles.postgresql.configuring import build_primary
from roles.postgresql.deploy import PREFIXES
from roles.postgresql.pooling import share_connections
from roles.postgresql.server import SOCKETS
from roles.postgresql.sizing import RESERVED_CONNECTIONS, format_bytes
from roles.postgresql.versions import choose_version, keeps_prepared_statements


@pytest.mark.parametrize(
    ("wanted", "release", "offered", "existing", "version"),
    [
        ({}, "12", [], [], 15),
        ({}, "13", [17], [], 17),
        ({"version": 16}, "12", [15, 16], [], 16),
        ({"minimum_version": "14"}, "12", [], [15], 15),
        ({}, "13", [], [15, 17], 17),
    ],
)
def test_the_version_is_the_releases_or_the_declared(
    wanted: dict[str, object], release: str, offered: list[int], existing: list[int], version: int
) -> None:
    declared = one_server(**wanted).declared if "version" not in wanted else None
    if declared is None:
        platform, _ = make(**wanted)
        declared = platform.services["store"]
    assert declared is not None
    assert choose_version("store", declared, release, offered, existing) == version


@pytest.mark.parametrize(
    ("wanted", "release", "existing", "told"),
    [
        ({"version": 16}, "13", [], "offers no PostgreSQL 16"),
        ({"minimum_version": "16"}, "12", [], "Debian 12 has PostgreSQL 15"),
        ({}, "13", [15], "pg_upgradecluster"),
        ({}, "", [], "offers no PostgreSQL"),
    ],
)
def test_a_version_that_cannot_be_is_refused(
    wanted: dict[str, object], release: str, existing: list[int], told: str
) -> None:
    platform, topology = make(**wanted)
    with pytest.raises(ProblemError) as caught:
        plan.plan_server(platform, topology, "data1", HOST, release, [], existing)
    assert told in str(caught.value)


def test_prepared_statements_follow_the_pools_version() -> None:
    assert not keeps_prepared_statements("12", "")
    assert not keeps_prepared_statements("13", "1.18.0-1")
    assert keeps_prepared_statements("13", "")
    assert keeps_prepared_statements("12", "1.24.1-1.pgdg120+1")


def test_hosts_without_a_server_have_none() -> None:
    platform, topology = make()
    assert plan.plan_server(platform, topology, "app", HOST, "13", [], []) is None
    assert plan.list_items(None) == []


def test_everything_laid_down_can_be_removed() -> None:
    partitions = [{"table": "log", "column": "at"}]
    server = one_server(pgbouncer={"port": 6432}, databases={"shop": {"partitions": partitions}})
    items = plan.list_items(server)
    assert [item for item in items if check_item(item, PREFIXES)] == []
    assert not [item for item in items if "/var/lib" in item.name]


def test_the_pool_leaves_connections_for_others() -> None:
    server = one_server(pgbouncer={"port": 6432, "default_pool_size": 20}, databases={"shop": {}})
    assert share_connections(server) <= server.sizes.max_connections - RESERVED_CONNECTIONS


def test_settings_listen_on_the_declared_address_and_log_no_statement() -> None:
    server = one_server("data2", hosts=2)
    text = render_template(
        "postgresql/settings.conf.j2", server=server, size=format_bytes, sockets=SOCKETS,
        certificate=paths.certificate("shop", server.identity), key=paths.key("shop", server.identity),
        bundle=paths.bundle("shop"), revocation_list=paths.revocation_list("shop"),
        primary=build_primary(server), slot="groundwork_data2",
    )  # fmt: skip
    lines = text.splitlines()
    assert "listen_addresses = '10.0.0.12'" in lines
    assert "primary_slot_name = 'groundwork_data2'" in lines
    assert "log_statement = none" in lines
    assert "log_min_error_statement = panic" in lines
    assert "sslmode=verify-full" in text
    assert "'" not in build_primary(server)
