"""Configuration values against the runtime's own JSON Schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Bench

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "MODE": {"enum": ["fast", "slow"]},
        "COUNT": {"type": "integer", "minimum": 1, "maximum": 9},
        "API_KEY": {"type": "string", "minLength": 40},
        "API_KEY_FILE": {"type": "string"},
        "REDIS_HOST": {"type": "string"},
        "REDIS_PASSWORD_FILE": {"type": "string"},
        "PEER_PORT": {"type": "integer", "const": 9010},
        "PEER_URL": {"type": "string", "pattern": "^https://"},
    },
    "required": ["MODE", "COUNT", "REDIS_HOST"],
    "allOf": [
        {"oneOf": [{"required": ["API_KEY"]}, {"required": ["API_KEY_FILE"]}]},
        {"required": ["REDIS_PASSWORD_FILE"]},
    ],
    "additionalProperties": False,
}
VALID = {
    "MODE": "fast",
    "COUNT": "3",
    "API_KEY": "{secret: api_key}",
    "PEER_PORT": "{port_of: writer}",
    "PEER_URL": "{url_of: redis}",
}
KEY = "groups.work.configuration.values"


def configure(bench: Bench, changes: dict[str, str | None], schema: Any = SCHEMA) -> None:
    (bench.folder / "schema.json").write_text(schema if isinstance(schema, str) else json.dumps(schema))
    values = {name: value for name, value in {**VALID, **changes}.items() if value is not None}
    lines = "".join(f"        {name}: {value}\n" for name, value in values.items())
    bench.replace(
        "    environment:\n",
        f"    configuration:\n      file: a.env\n      schema: schema.json\n      values:\n{lines}    environment:\n",
    )


def test_references_and_needs_count_as_given(bench: Bench) -> None:
    configure(bench, {})
    assert bench.load()


@pytest.mark.parametrize(
    ("changes", "key", "given", "allowed"),
    [
        ({"MODE": "medium"}, f"{KEY}.MODE", "medium", "one of fast, slow"),
        ({"COUNT": "10"}, f"{KEY}.COUNT", "10", "at most 9"),
        ({"COUNT": "0"}, f"{KEY}.COUNT", "0", "at least 1"),
        ({"COUNT": "three"}, f"{KEY}.COUNT", "three", "of type integer"),
        ({"MODE": None}, f"{KEY}.MODE", "", ""),
        ({"API_KEY": None}, KEY, "none of them", "API_KEY, API_KEY_FILE"),
        ({"API_KEY_FILE": "/run/x"}, None, "", ""),
        ({"PEER_PORT": "{port_of: planner}"}, f"{KEY}.PEER_PORT", "9000", "const 9010"),
    ],
)
def test_a_value_out_of_range_is_refused(
    bench: Bench, changes: dict[str, str | None], key: str | None, given: str, allowed: str
) -> None:
    configure(bench, changes)
    if key is None:
        assert bench.load()
        return
    problem = bench.problem()
    assert (problem.key, problem.given, problem.allowed) == (key, given, allowed)
    assert (problem.file, problem.line > 0) == ("small.yaml", True)


def test_every_missing_setting_is_named(bench: Bench) -> None:
    configure(bench, {"MODE": None, "COUNT": None})
    assert {problem.key for problem in bench.problems()} == {f"{KEY}.MODE", f"{KEY}.COUNT"}


def test_an_unknown_setting_names_the_nearest(bench: Bench) -> None:
    configure(bench, {"COUNTS": "1"})
    problem = bench.problem()
    assert (problem.key, problem.line) == (f"{KEY}.COUNTS", bench.line_of("COUNTS"))
    assert "did you mean 'COUNT'" in problem.message


def test_both_ways_of_giving_a_secret_exclude_each_other(bench: Bench) -> None:
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "API_MODE": {"type": "string"}}}
    schema["allOf"] = [{"oneOf": [{"required": ["API_MODE"]}, {"required": ["API_KEY_FILE"]}]}]
    configure(bench, {"API_MODE": "x"}, schema)
    problem = bench.problem()
    assert (problem.given, problem.allowed) == ("API_KEY_FILE, API_MODE", "API_KEY_FILE, API_MODE")


def test_a_secret_in_the_values_is_refused_and_not_repeated(bench: Bench) -> None:
    configure(bench, {"API_KEY": "hunter2hunter2"})
    problem = bench.problem()
    assert (problem.key, problem.allowed) == (f"{KEY}.API_KEY", "{secret: NAME}")
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize("schema", ["{", '{"type": "nothing"}', "[1, 2"])
def test_a_broken_schema_is_named(bench: Bench, schema: str) -> None:
    configure(bench, {}, schema)
    problem = bench.problem()
    assert problem.key == "groups.work.configuration.schema"
    assert "not a usable JSON Schema" in problem.message


def test_keys_of_an_environment_file_are_variable_names(bench: Bench) -> None:
    configure(bench, {"lower": "x"}, {"type": "object"})
    assert bench.problem().key == f"{KEY}.lower"
