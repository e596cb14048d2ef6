from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.manifest.platform import Platform
from groundwork.problems import ProblemError
from roles.redis.access import OPERATOR, Access, hash_password, is_pattern, list_access, render_access


def make_platform(needs: list[Any], **service: Any) -> Platform:
    return Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "."}, "launcher": "shop"},
            "services": {"redis": {"hosts": "data", **service}},
            "groups": {
                "sales": {"hosts": "app", "module": "shop.sales", "needs": needs, "agents": {"seller": {"port": 8000}}},
                "idle": {"hosts": "app", "module": "shop.idle", "agents": {"waiter": {"port": 8100}}},
            },
            "lab": {"hosts": {"app": ["app"], "data": ["data"]}},
        }
    )


def rules_of(platform: Platform, client: str) -> tuple[str, ...]:
    return {one.client: one.rules for one in list_access(platform, "redis")}[client]


def test_a_group_without_the_need_is_no_client() -> None:
    assert [one.client for one in list_access(make_platform(["redis"]), "redis")] == ["sales"]


def test_the_platforms_keys_are_the_default() -> None:
    rules = rules_of(make_platform(["redis"]), "sales")
    assert rules[:2] == ("~shop:*", "&shop:*")
    assert "~*" not in rules


def test_administration_is_taken_away_after_everything_was_given() -> None:
    rules = rules_of(make_platform(["redis"]), "sales")
    assert rules.index("+@all") < rules.index("-@admin")
    assert rules.index("+@all") < rules.index("-@dangerous") < rules.index("+info")


def test_reading_gives_no_way_to_write() -> None:
    rules = rules_of(make_platform([{"name": "redis", "keys": ["a:*"], "access": "read"}]), "sales")
    assert rules[0] == "%R~a:*"
    assert rules.index("-@write") > rules.index("+@all")
    assert not [rule for rule in rules if rule.startswith("~")]


def test_an_agents_need_adds_to_its_groups() -> None:
    platform = make_platform([{"name": "redis", "keys": ["a:*"], "access": "read"}])
    agent = platform.groups["sales"].agents["seller"]
    needs = [{"name": "redis", "keys": ["b:*"], "channels": ["news"]}]
    changed = type(agent).model_validate({**agent.model_dump(exclude_unset=True), "needs": needs})
    platform.groups["sales"].agents["seller"] = changed
    rules = rules_of(platform, "sales")
    assert {"%R~a:*", "~b:*", "&news"} <= set(rules)
    assert "-@write" not in rules


def test_a_declared_user_has_its_commands_and_no_more() -> None:
    users = {"exporter": {"commands": ["@read", "info", "client|list"], "keys": ["x:*"]}}
    assert rules_of(make_platform(["redis"], users=users), "exporter") == (
        "~x:*",
        "-@all",
        "+@read",
        "+info",
        "+client|list",
    )


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ({"commands": ["@evrything"]}, "users.tool.commands.0"),
        ({"commands": ["get", "set allkeys"]}, "users.tool.commands.1"),
        ({"keys": ["a b"]}, "users.tool.keys.0"),
        ({"channels": ["a\nuser x on nopass"]}, "users.tool.channels.0"),
    ],
)
def test_what_an_access_list_cannot_hold_is_named(user: dict[str, Any], key: str) -> None:
    with pytest.raises(ProblemError) as caught:
        list_access(make_platform(["redis"], users={"tool": user}), "redis")
    assert [problem.key for problem in caught.value.problems] == [f"services.redis.{key}"]


def test_every_problem_is_told_at_once() -> None:
    platform = make_platform([{"name": "redis", "keys": ["", "x y"]}], users={"sales": {}, "default": {}})
    with pytest.raises(ProblemError) as caught:
        list_access(platform, "redis")
    messages = str(caught.value)
    assert "groups.sales.needs.0.keys.0" in messages
    assert "groups.sales.needs.0.keys.1" in messages
    assert "an agent group has this name too" in messages
    assert "switched off" in messages


@given(st.text())
def test_a_pattern_is_one_word_or_refused(pattern: str) -> None:
    if is_pattern(pattern):
        assert pattern.split() == [pattern]
        assert pattern.isprintable()


@given(st.lists(st.text().filter(is_pattern), max_size=5), st.text(min_size=1))
def test_no_pattern_or_password_adds_a_user_or_a_rule(patterns: list[str], password: str) -> None:
    rules = (*(f"~{pattern}" for pattern in patterns), "+@all")
    hashed = hash_password(password)
    text = render_access([Access("sales", rules)], {"sales": hashed}, "0" * 64)
    lines = text.splitlines()
    # Split as Redis does (ACLLoadFromFile in its acl.c): at line ends, then at single blanks.
    assert text == "\n".join(lines) + "\n"
    assert [line.split(" ")[:2] for line in lines] == [["user", "default"], ["user", OPERATOR], ["user", "sales"]]
    assert tuple(lines[2].split(" ")[7:]) == rules
    assert lines[2].split(" ")[4] == f"#{hashed}"


def test_nobody_is_let_in_by_default() -> None:
    first = render_access([], {}, "0" * 64).splitlines()[0].split()
    assert first[:3] == ["user", "default", "off"]
    assert "nopass" not in first
    # As this user Redis replays its append-only file, and refuses what it has no right to.
    assert {"~*", "&*", "+@all"} <= set(first)


def test_passwords_are_held_as_redis_compares_them() -> None:
    assert hash_password("foobared") == hashlib.sha256(b"foobared").hexdigest()
