"""The rules of overlays, by example and as properties."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundwork.manifest.overlay import merge
from groundwork.manifest.source import Mark, Source, parse

from .conftest import Bench

# The machine may be busy: neither the time of one example nor that of its making says anything about the rules.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Keys in capitals hold mappings and the others leaves, so that no mapping meets a leaf at the same key.
leaves = st.one_of(st.integers(), st.text(max_size=3), st.booleans(), st.lists(st.integers(), max_size=3))


def trees(depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    leaf = st.dictionaries(st.sampled_from("abc"), leaves, max_size=3)
    if depth == 0:
        return leaf
    inner = st.dictionaries(st.sampled_from("ABC"), trees(depth - 1), max_size=2)
    return st.builds(lambda one, two: {**one, **two}, leaf, inner)


def with_nulls(tree: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {k: None if k in names else with_nulls(v, names) if isinstance(v, dict) else v for k, v in tree.items()}


def join(*trees: dict[str, Any]) -> dict[str, Any]:
    result = Source(trees[0])
    for tree in trees[1:]:
        result = merge(result, Source(tree))
    return result.data


@patient
@given(trees(), trees(), trees())
def test_merging_is_associative_without_removals(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    assert join(join(a, b), c) == join(a, join(b, c))


@patient
@given(trees())
def test_an_empty_overlay_changes_nothing(a: dict[str, Any]) -> None:
    assert join(a, {}) == a
    assert join({}, a) == a


@patient
@given(trees(), trees(), st.frozensets(st.sampled_from("abcABC"), max_size=3))
def test_the_same_overlay_twice_changes_nothing_more(
    a: dict[str, Any], b: dict[str, Any], names: frozenset[str]
) -> None:
    overlay = with_nulls(b, names)
    assert join(a, overlay, overlay) == join(a, overlay)


@patient
@given(trees(), trees(), st.frozensets(st.sampled_from("abcABC"), max_size=3))
def test_no_null_remains_and_the_base_stays_as_it_was(
    a: dict[str, Any], b: dict[str, Any], names: frozenset[str]
) -> None:
    before = repr(a)
    assert "None" not in repr(join(a, with_nulls(b, names)))
    assert repr(a) == before


def test_each_kind_of_value_follows_its_rule() -> None:
    base = parse("map: {one: 1, two: 2}\nlist: [1, 2]\nword: a\ngone: {x: 1}\n", "base").data
    over = parse(
        "map: {two: 3, three: {x: null, y: 4}}\nlist: [9]\nword: {now: map}\ngone: null\nnever: null\n", "over"
    ).data
    assert join(base, over) == {
        "map": {"one": 1, "two": 3, "three": {"y": 4}},
        "list": [9],
        "word": {"now": "map"},
    }


def test_values_keep_the_mark_of_their_own_file() -> None:
    base = parse("map:\n  one: 1\n  list:\n    - 1\n    - 2\n", "base")
    merged = merge(base, parse("\nmap:\n  list: [9]\n  three: 3\n", "over"))
    assert merged.mark_of(("map", "one")) == Mark("base", 2)
    assert merged.mark_of(("map",)) == Mark("base", 1)
    assert merged.mark_of(("map", "three")) == Mark("over", 4)
    assert merged.mark_of(("map", "list", 0)) == Mark("over", 3)
    # The base's second item is gone, and its mark with it.
    assert merged.mark_of(("map", "list", 1)) == Mark("over", 3)


def test_a_mistake_in_the_overlay_names_the_overlay(bench: Bench) -> None:
    bench.overlay("groups:\n  work:\n    agents:\n      writer:\n        port: 99999\n")
    problem = bench.problem()
    assert (problem.file, problem.line, problem.key) == ("small.lab.yaml", 5, "groups.work.agents.writer.port")
    assert problem.given == "99999"


def test_a_removed_key_that_is_required_names_the_line_that_removed_it(bench: Bench) -> None:
    bench.overlay("groups:\n  work:\n    hosts: null\n")
    problem = bench.problem()
    assert (problem.file, problem.line, problem.key) == ("small.lab.yaml", 3, "groups.work.hosts")
    assert problem.message == "is required and missing"


def test_a_reference_to_something_the_overlay_removed_is_found(bench: Bench) -> None:
    bench.overlay("services:\n  redis: null\n")
    problem = bench.problem()
    assert (problem.file, problem.key, problem.given) == ("small.yaml", "groups.work.needs.0", "redis")


def test_mistakes_of_both_files_are_reported_at_once(bench: Bench) -> None:
    bench.replace("MODE: fast", "mode: fast")
    bench.overlay("lab:\n  host: {}\n")
    assert {problem.file for problem in bench.problems()} == {"small.yaml", "small.lab.yaml"}


def test_an_overlay_cannot_rename_the_platform(bench: Bench) -> None:
    bench.overlay("platform: other\n")
    problem = bench.problem()
    assert (problem.file, problem.line, problem.key, problem.given) == ("small.lab.yaml", 1, "platform", "other")


def test_only_the_environments_own_overlay_counts(bench: Bench) -> None:
    bench.overlay("groups: {work: {environment: {MODE: slow}}}\n")
    assert bench.load("lab").platform.groups["work"].environment == {"MODE": "slow"}
    assert bench.load("production").platform.groups["work"].environment == {"MODE": "fast"}
