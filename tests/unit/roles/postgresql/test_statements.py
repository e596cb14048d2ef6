from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import one_server

from groundwork.problems import ProblemError
from roles.postgresql import grants
from roles.postgresql.partitions import DEFINITION_DIGEST, plan_partitions
from roles.postgresql.server import slot_name
from roles.postgresql.statements import (
    EMPTY,
    LOGIN,
    OWNER,
    SESSION,
    check_owners,
    compare_grants,
    list_surplus,
    mark_of,
    plan_databases,
    plan_roles,
)


def role(attributes: dict[str, bool], **more: Any) -> dict[str, Any]:
    base = {"attributes": attributes, "limited": False, "password": False, "mark": "", "member_of": [], "settings": {}}
    return base | more


def settled() -> dict[str, Any]:
    """What the catalogue says when everything is as ``one_server`` declares it."""
    sales = role(LOGIN, mark=mark_of("shop"), settings={"": list(SESSION)})
    acl = {"shop": ["CONNECT", "CREATE", "TEMPORARY"], "sales": ["CONNECT", "TEMPORARY"]}
    return {
        "roles": {"shop": role(OWNER), "sales": sales},
        "databases": {
            "shop": {"owner": "shop", "connectable": True, "acl": acl},
            "postgres": {"owner": "postgres", "connectable": True, "acl": {}},
            "template1": {"owner": "postgres", "connectable": True, "acl": {}},
        },
        "slots": [],
        "recovering": False,
    }


def test_nothing_is_done_where_nothing_differs() -> None:
    assert plan_roles(one_server(), settled()) == []
    assert plan_databases(one_server(), settled()) == []


def test_everything_is_made_on_an_empty_server() -> None:
    statements = plan_roles(one_server(), EMPTY) + plan_databases(one_server(), EMPTY)
    text = "\n".join(statements)
    assert 'CREATE ROLE "shop" NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN' in text
    assert 'CREATE ROLE "sales" NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN' in text
    assert 'CREATE DATABASE "shop" OWNER "shop"' in text
    assert 'REVOKE CONNECT, TEMPORARY ON DATABASE "shop" FROM PUBLIC' in statements
    assert 'GRANT CONNECT, TEMPORARY ON DATABASE "shop" TO "sales"' in statements
    assert 'REVOKE CONNECT ON DATABASE "postgres" FROM PUBLIC' in statements


def test_a_role_that_exists_with_other_rights_is_repaired() -> None:
    found = settled()
    found["roles"]["sales"] = role(
        {**LOGIN, "SUPERUSER": True, "BYPASSRLS": True},
        password=True,
        limited=True,
        member_of=["pg_read_all_data", "shop"],
        settings={"": ["statement_timeout=0"]},
    )
    statements = plan_roles(one_server(), found)
    assert any("NOSUPERUSER NOBYPASSRLS" in one and "PASSWORD NULL" in one for one in statements)
    assert 'REVOKE "pg_read_all_data" FROM "sales"' in statements
    assert 'REVOKE "shop" FROM "sales"' in statements
    assert "ALTER ROLE \"sales\" SET statement_timeout = '60s'" in statements
    assert any(one.startswith('COMMENT ON ROLE "sales"') for one in statements)


def test_an_owner_acts_as_the_database_owner() -> None:
    server = one_server(needs=[{"name": "store", "access": "owner"}])
    assert 'GRANT "shop" TO "sales"' in plan_roles(server, EMPTY)
    assert 'ALTER ROLE "sales" IN DATABASE "shop" SET role = \'shop\'' in plan_databases(server, EMPTY)


def test_a_database_of_somebody_else_is_refused() -> None:
    found = settled()
    found["databases"]["shop"]["owner"] = "legacy"
    server = one_server()
    with pytest.raises(ProblemError) as caught:
        check_owners(server.service, server.declared, found)
    assert "database shop belongs to legacy" in str(caught.value)
    check_owners(server.service, server.declared, None)


def test_only_roles_of_this_platform_are_surplus() -> None:
    found = settled()
    found["roles"] |= {
        "former": role(LOGIN, mark=mark_of("shop")),
        "other": role(LOGIN, mark=mark_of("shop2")),
        "dba": role(LOGIN),
    }
    assert list_surplus(one_server(), found) == ["former"]


def test_slots_come_and_go_with_their_replicas() -> None:
    found = settled() | {"slots": ["groundwork_old", "backup"]}
    statements = plan_databases(one_server(hosts=2), found)
    assert "SELECT pg_drop_replication_slot('groundwork_old')" in statements
    assert "SELECT pg_create_physical_replication_slot('groundwork_data2', true)" in statements
    assert not [one for one in statements if "backup" in one]
    assert slot_name("@ssh/DB-1.example") == "groundwork__ssh_db_1_example"


PRIVILEGES = st.lists(st.sampled_from(["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"]), unique=True)
ACL = st.dictionaries(st.sampled_from(["PUBLIC", "a", "b", "foreign"]), PRIVILEGES)


@given(ACL, ACL)
def test_grants_end_at_what_is_wanted_and_touch_nobody_else(
    found: dict[str, list[str]], wanted: dict[str, list[str]]
) -> None:
    ours = {"PUBLIC", "a", "b"}
    acl = {name: set(privileges) for name, privileges in copy.deepcopy(found).items()}
    for statement in compare_grants("TABLE t", found, wanted, ours):
        verb, rest = statement.split(" ", 1)
        names, rest = rest.split(" ON TABLE t ")
        who = rest.split(" ")[1].strip('"')
        change = set(names.split(", "))
        acl[who] = acl.get(who, set()) | change if verb == "GRANT" else acl[who] - change
    for name in ours:
        assert acl.get(name, set()) == set(wanted.get(name, ()))
    assert acl.get("foreign") == (set(found["foreign"]) if "foreign" in found else None)


def test_tables_present_and_to_come_get_the_declared_rights() -> None:
    found = {
        **grants.EMPTY,
        "definition": DEFINITION_DIGEST,
        "relations": [["public", "t", "r", {"PUBLIC": ["SELECT"], "sales": ["SELECT", "TRUNCATE"]}]],
    }
    statements = grants.plan_database(one_server(), "shop", found)
    assert 'REVOKE SELECT ON TABLE "public"."t" FROM PUBLIC' in statements
    assert 'REVOKE TRUNCATE ON TABLE "public"."t" FROM "sales"' in statements
    assert 'GRANT DELETE, INSERT, UPDATE ON TABLE "public"."t" TO "sales"' in statements
    assert (
        'ALTER DEFAULT PRIVILEGES FOR ROLE "shop" GRANT DELETE, INSERT, SELECT, UPDATE ON TABLES TO "sales"'
        in statements
    )
    reading = grants.plan_database(one_server(needs=[{"name": "store", "access": "read"}]), "shop", grants.EMPTY)
    assert 'ALTER DEFAULT PRIVILEGES FOR ROLE "shop" GRANT SELECT ON TABLES TO "sales"' in reading
    assert not [one for one in reading if "SEQUENCES" in one]


def test_an_extension_that_is_not_there_is_named() -> None:
    server = one_server(databases={"shop": {"extensions": ["no_such", "pg_trgm"]}})
    with pytest.raises(ProblemError) as caught:
        grants.plan_database(server, "shop", {**grants.EMPTY, "available": ["pg_trgm"]})
    assert "no_such" in str(caught.value)


def test_partitions_follow_their_declaration() -> None:
    partitions = [{"table": "log", "column": "at", "keep": 2}]
    declared = one_server(databases={"shop": {"partitions": partitions}}).declared.databases["shop"].partitions
    assert plan_partitions(declared, [["log", "at", "month", 2, 3]]) == []
    assert plan_partitions([], [["log", "at", "month", 2, 3]]) == [
        "DELETE FROM groundwork.partitions WHERE relation = 'log'"
    ]
    assert len(plan_partitions(declared, [["log", "at", "month", 9, 3]])) == 2
