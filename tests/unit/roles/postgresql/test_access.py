from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import make, one_server

from groundwork.problems import ProblemError
from roles.postgresql import access, plan
from roles.postgresql.quoting import quote_field, quote_name, quote_text
from roles.postgresql.server import Server

POOL = {"port": 6432}


def rules(server: Server) -> list[str]:
    return access.render_access(server.node, server.declared, server.logins, server.replicas).splitlines()


def test_everything_that_is_not_named_is_refused() -> None:
    for server in (one_server(), one_server(pgbouncer=POOL), one_server("data2", hosts=2)):
        lines = rules(server)
        assert lines[0] == 'local all "postgres" peer'
        assert lines[1] == "hostnossl all,replication all all reject"
        assert lines[-1] == "host all,replication all all reject"
        assert not [line for line in lines if "trust" in line or "password" in line]
        assert {line.split()[0] for line in lines[2:-1]} <= {"hostssl"}
        assert all(" cert map=" in line for line in lines[2:-1])


def test_without_a_pool_agents_come_from_their_hosts() -> None:
    assert rules(one_server())[2] == 'hostssl "shop" "sales" 10.0.0.1/32 cert map=agents'
    server = one_server()
    assert 'agents "sales" "sales"' in access.render_mappings("store", server.declared, server.logins)


def test_with_a_pool_only_the_pool_comes() -> None:
    server = one_server(pgbouncer=POOL)
    assert rules(server)[2] == 'hostssl "shop" "sales" 10.0.0.11/32 cert map=pool'
    mappings = access.render_mappings("store", server.declared, server.logins)
    assert mappings.splitlines() == ['replicas "store" "_replication"', 'pool "pgbouncer" "sales"']
    assert access.render_pool_access(server.node, server.logins) == 'hostssl "shop" "sales" 10.0.0.1/32 cert\n'
    assert access.render_pool_users(server.logins) == '"sales" ""\n'
    assert server.peers == []


def test_replicas_come_as_replicas_from_their_hosts() -> None:
    primary, replica = one_server(hosts=3), one_server("data2", hosts=3)
    lines = [line for line in rules(primary) if line.startswith("hostssl replication")]
    assert [line.split()[3] for line in lines] == ["10.0.0.12/32", "10.0.0.13/32"]
    assert [line for line in rules(replica) if line.startswith("hostssl")] == []
    assert replica.peers == ["10.0.0.11"]


def test_the_widest_access_of_a_groups_needs_counts() -> None:
    needs: list[Any] = [{"name": "store", "access": "read"}, {"name": "store", "access": "owner"}]
    assert one_server(needs=needs).logins[0].rights == (("shop", "owner"),)


@pytest.mark.parametrize(
    ("service", "told"),
    [
        ({"databases": {"a": {}, "b": {}}}, "does not say which database"),
        ({"databases": {"postgres": {}}}, "keeps for itself"),
        ({"databases": {"pgbouncer": {}}}, "keeps for itself"),
        ({"databases": {"shop": {"owner": "sales"}}}, "is the name of a role that is no agent group's"),
        ({"databases": {"sales": {}}}, "is the name of a role that is no agent group's"),
    ],
)
def test_names_that_mean_something_else_are_refused(service: dict[str, Any], told: str) -> None:
    platform, topology = make(**service)
    with pytest.raises(ProblemError) as caught:
        plan.check_platform(platform, topology)
    assert told in str(caught.value)


@given(st.text(st.characters(exclude_characters="\0"), min_size=1))
def test_quoted_names_and_texts_end_where_they_end(text: str) -> None:
    assert quote_name(text)[1:-1].replace('""', "").count('"') == 0
    inner = quote_text(text).strip().removeprefix("E")[1:-1]
    assert inner.replace("''", "").replace("\\\\", "").count("'") == 0


@given(st.text(min_size=1))
def test_no_field_of_an_access_file_adds_a_line_or_a_word(text: str) -> None:
    try:
        field = quote_field(text)
    except ValueError:
        return
    assert field.count('"') == 2
    assert "\n" not in field
