from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.operations.ledger_items import (
    KINDS,
    Item,
    build_removal,
    check_item,
    format_ledger,
    list_removals,
    merge_items,
    parse_ledger,
)

ITEMS = st.lists(
    st.builds(
        Item, st.sampled_from(KINDS), st.sampled_from(["/etc/nginx/a", "/etc/nginx/a/b", "/etc/redis/c", "d", "e"])
    ),
    unique=True,
)


@given(ITEMS, ITEMS)
def test_union_then_removal_leaves_exactly_what_is_declared(old: list[Item], declared: list[Item]) -> None:
    union = merge_items(old, declared)
    assert set(union) == set(old) | set(declared)
    assert len(union) == len(set(union))
    assert union[: len(old)] == old
    removed = list_removals(union, declared)
    assert set(union) - set(removed) == set(declared)
    assert len(removed) == len(set(removed))


@given(ITEMS, ITEMS)
def test_an_interrupted_run_forgets_nothing(old: list[Item], declared: list[Item]) -> None:
    # Killed after begin: the next run begins from the union, with whatever is declared by then.
    once = merge_items(old, declared)
    assert merge_items(once, declared) == once
    assert set(list_removals(once, [])) == set(old) | set(declared)


@given(ITEMS)
def test_order_is_users_of_things_before_things(items: list[Item]) -> None:
    removed = list_removals(items, [])
    kinds = [KINDS.index(item.kind) for item in removed]
    assert kinds == sorted(kinds)
    for index, item in enumerate(removed):
        for later in removed[index + 1 :]:
            assert not (later.kind == item.kind == "directory" and later.name.startswith(item.name + "/"))


def test_last_laid_down_goes_first() -> None:
    units = [Item("unit", "a.target"), Item("unit", "a-b@.service"), Item("unit", "a-b@1.service")]
    assert list_removals(units, [units[0]]) == [units[2], units[1]]


@given(ITEMS)
def test_the_file_gives_back_what_was_written(items: list[Item]) -> None:
    assert parse_ledger(format_ledger("redis", items)) == items


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"version": 2, "items": []}',
        '{"version": 1}',
        '{"version": 1, "items": [{"kind": "data", "name": "x"}]}',
        '{"version": 1, "items": [{"kind": "file", "name": 3}]}',
    ],
)
def test_what_is_no_ledger_is_an_error_rather_than_empty(text: str) -> None:
    with pytest.raises(ValueError, match="not a ledger"):
        parse_ledger(text)


@pytest.mark.parametrize(
    "name",
    [
        "/",
        "/etc",
        "/etc/nginx",
        "/etc/nginx/",
        "/etc/nginx/../passwd",
        "/etc/nginx/./x",
        "/etc/nginx//x",
        "etc/nginx/x",
        "/var/lib/redis/dump.rdb",
        "/var/lib/groundwork/x",
        "/srv/x",
        "/home/debian",
        "/etc/nginxx",
        "/etc/nginx/a\nb",
        "",
    ],
)
@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_paths_outside_are_refused(kind: str, name: str) -> None:
    assert check_item(Item(kind, name)) != ""  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["root", "debian", "nobody", "-r", "a b", "$(id)", ""])
def test_accounts_of_the_system_are_refused(name: str) -> None:
    assert check_item(Item("user", name)) != ""
    assert check_item(Item("group", name)) != ""


@pytest.mark.parametrize("name", ["../x.service", "a/b.service", "x", "x.service; rm -rf /", "*.service", ".service"])
def test_names_that_are_no_units_are_refused(name: str) -> None:
    assert check_item(Item("unit", name)) != ""


@pytest.mark.parametrize(
    "item",
    [
        Item("file", "/etc/nginx/conf.d/a.conf"),
        Item("unit", "chorus-planner@1.service"),
        Item("user", "chorus"),
        Item("unit", "groundwork-ai_system.slice"),
        Item("directory", "/etc/groundwork/chorus"),
    ],
)
def test_what_roles_lay_down_may_go(item: Item) -> None:
    assert check_item(item) == ""


def test_prefixes_can_be_narrowed() -> None:
    assert check_item(Item("file", "/etc/redis/x"), ["/etc/nginx/"]) != ""


@pytest.mark.parametrize("kind", KINDS)
def test_every_removal_is_valid_shell_and_quotes_its_name(kind: str) -> None:
    command = build_removal(Item(kind, "a b$(touch /tmp/never);'x"))  # type: ignore[arg-type]
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0
    assert "'a b$(touch /tmp/never);'\"'\"'x'" in command


def test_the_file_is_json_people_can_read() -> None:
    document = json.loads(format_ledger("redis", [Item("file", "/etc/redis/a")]))
    assert document == {"version": 1, "role": "redis", "items": [{"kind": "file", "name": "/etc/redis/a"}]}
