"""The configuration of chorus: each mistake is found, the schema and the parser agree, secrets stay masked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agent_runtime.chorus.settings import ChorusSettings
from agent_runtime.chorus.validate import SCHEMA_FILE, find_problems, main, render_schema
from agent_runtime.configuration import ConfigurationError, parse_environment_file, read_settings
from agent_runtime.options import Definition, list_definitions, parse_value
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

GOOD = {
    "ENVIRONMENT": "production",
    "LLM_API_KEY_FILE": "/run/credentials/chorus-api@1.service/llm",
    "LLM_MODEL": "some-model",
    "REDIS_HOST": "10.0.0.2",
    "REDIS_PASSWORD_FILE": "%d/redis",
}
SCHEMA = json.loads(SCHEMA_FILE.read_text())
DEFINITIONS = {definition.key: definition for definition in list_definitions(ChorusSettings)}


def write(values: dict[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


def test_figures_of_the_system_are_the_defaults() -> None:
    expected = {
        "LLM_TIMEOUT": 30, "LLM_RETRIES": 3, "REDIS_POOL_SIZE": 20, "API_PORT": 8000, "API_WORKERS": 4,
        "AGENTS_MIN": 10, "AGENTS_MAX": 50, "AGENT_REQUEST_INTERVAL_MIN": 0.5, "AGENT_REQUEST_INTERVAL_MAX": 5,
        "TRUST_INITIAL": 100, "TRUST_THRESHOLD": 30, "TRUST_CONFLICT_PENALTY": 10, "TRUST_COOPERATION_BONUS": 1,
        "RISK_THRESHOLD": 0.7, "PREDICTION_INTERVAL": 2, "ANALYSIS_WINDOW": 20, "LOG_MAXIMUM_BYTES": 52428800,
        "LOG_BACKUPS": 10, "HEALTH_CHECK_INTERVAL": 30, "HEALTH_CHECK_TIMEOUT": 10, "HEALTH_CHECK_FAILURES": 3,
    }  # fmt: skip
    assert {key: DEFINITIONS[key].default for key in expected} == expected
    assert find_problems(write(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "line", "key", "shown"),
    [
        ({"ENVIRONMENT": "prod"}, 1, "ENVIRONMENT", "given prod"),
        ({"LLM_MODEL": ""}, 3, "LLM_MODEL", "given (empty)"),
        ({"REDIS_PORT": "65536"}, 6, "REDIS_PORT", "a whole number from 1 to 65535"),
        ({"REDIS_PORT": "1_000"}, 6, "REDIS_PORT", "given 1_000"),
        ({"RISK_THRESHOLD": "nan"}, 6, "RISK_THRESHOLD", "a number from 0 to 1"),
        ({"DEBUG": "perhaps"}, 6, "DEBUG", "true or false"),
        ({"DEBUG": "true"}, 6, "DEBUG", "false when ENVIRONMENT is production"),
        ({"REDIS_PROT": "1"}, 6, "REDIS_PROT", "the nearest is REDIS_PORT"),
        ({"LLM_API_KEY": "canary-key-123"}, 6, "LLM_API_KEY", "given"),
        ({"LLM_API_KEY_FILE": "llm"}, 2, "LLM_API_KEY_FILE", "an absolute path"),
        ({"AGENTS_MIN": "51"}, 6, "AGENTS_MIN", "AGENTS_MIN at most AGENTS_MAX"),
        ({"AGENT_REQUEST_INTERVAL_MIN": "6"}, 6, "AGENT_REQUEST_INTERVAL_MIN", "at most"),
        ({"TRUST_THRESHOLD": "100"}, 6, "TRUST_THRESHOLD", "TRUST_THRESHOLD below TRUST_INITIAL"),
        ({"HEALTH_CHECK_TIMEOUT": "30"}, 6, "HEALTH_CHECK_TIMEOUT", "below"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "broker"}, 6, "KAFKA_BOOTSTRAP_SERVERS", "given broker"),
        ({"VOICE_ID": "anna"}, 0, "VOICE_API_KEY", "all of voice's settings or none"),
        ({"LOG_FILE": "chorus.log"}, 6, "LOG_FILE", "given chorus.log"),
        ({"LOG_LEVEL": '"INFO'}, 6, "LOG_LEVEL", "an open quote"),
        ({"no setting": "x"}, 6, "(line)", "KEY=value"),
    ],
)  # fmt: skip
def test_each_mistake_is_found(change: dict[str, str], line: int, key: str, shown: str) -> None:
    problems = [p for p in find_problems(write({**GOOD, **change})) if (p.line, p.key) == (line, key)]
    if "LLM_API_KEY" in change:
        problems = [p for p in find_problems(write({**GOOD, **change})) if p.key.startswith("LLM_API_KEY")]
    assert len(problems) == 1
    assert shown in problems[0].show("chorus.env")
    assert "canary" not in problems[0].show("chorus.env")


@pytest.mark.parametrize("key", ["ENVIRONMENT", "LLM_API_KEY_FILE", "LLM_MODEL", "REDIS_HOST", "REDIS_PASSWORD_FILE"])
def test_each_missing_setting_is_found_unless_provided(key: str) -> None:
    text = write({name: value for name, value in GOOD.items() if name != key})
    problems = find_problems(text)
    assert [problem.key for problem in problems] == [key.removesuffix("_FILE")]
    assert find_problems(text, frozenset({key})) == []


def test_all_problems_at_once_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chorus.env"
    path.write_text(
        "# a comment\nENVIRONMENT=lab\nLLM_API_KEY=canary\nLLM_MODEL='m'\nREDIS_HOST=h\nREDIS_HOST=i\n"
        "REDIS_PASSWORD=changeme\nAPI_PORT=0\nwhat\n"
    )
    assert main(["--env-file", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0].rpartition(":")[2] for line in lines] == ["3", "6", "7", "8", "9"]
    assert "canary" not in "".join(lines)
    assert "changeme" not in "".join(lines)
    assert main(["--env-file", str(path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["valid"] is False
    assert report["problems"][1]["allowed"] == "once (it is on line 5 too)"
    assert main(["--env-file", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().out
    path.write_text(write(GOOD))
    assert main(["--env-file", str(path)]) == 0


def test_validator_runs_as_a_command(tmp_path: Path) -> None:
    path = tmp_path / "chorus.env"
    path.write_text(write(GOOD))
    source = str(SCHEMA_FILE.parents[2])
    command = [sys.executable, "-m", "agent_runtime.chorus.validate", "--env-file", str(path)]
    assert subprocess.run(command, env={"PYTHONPATH": source}, capture_output=True).returncode == 0


def test_schema_file_is_the_generated_one() -> None:
    assert SCHEMA_FILE.read_text() == render_schema()
    Draft202012Validator.check_schema(SCHEMA)
    assert all(entry.get("description") for entry in SCHEMA["properties"].values())


def test_schema_checks_what_is_required() -> None:
    validator = Draft202012Validator(SCHEMA)
    assert validator.is_valid(GOOD)
    for key in GOOD:
        assert not validator.is_valid({name: value for name, value in GOOD.items() if name != key})
    assert not validator.is_valid({**GOOD, "LLM_API_KEY": "a-long-enough-key"})
    assert not validator.is_valid({**GOOD, "SOMETHING": 1})
    assert not validator.is_valid({**GOOD, "VOICE_ID": "anna"})
    assert validator.is_valid({**GOOD, "VOICE_ID": "anna", "VOICE_API_KEY_FILE": "/run/voice"})


def as_typed(definition: Definition, text: str) -> Any:
    """Read text the way a manifest would have written the value."""
    match definition.kind:
        case "integer":
            return int(text)
        case "number":
            return float(text)
        case "boolean":
            return text == "true"
        case "list":
            return [part for part in text.split(",") if part]
    return text


def candidates(definition: Definition) -> st.SearchStrategy[str]:
    match definition.kind:
        case "integer":
            return st.integers(-5, 100_000).map(str)
        case "number":
            return st.floats(-5, 5000, allow_nan=False).map(lambda number: f"{number:.3f}")
        case "boolean":
            return st.sampled_from(["true", "false"])
    words = ["", "a", "abcdefgh", "a b", "/x", "INFO", "lab", "SSL", "PLAIN", "host:1,other:2", "host", "é" * 9]
    return st.sampled_from([*words, *definition.option.choices])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_parser_and_schema_agree_on_every_value(data: st.DataObject) -> None:
    definition = data.draw(st.sampled_from(sorted(DEFINITIONS.values(), key=lambda d: d.key)))
    text = data.draw(candidates(definition))
    try:
        parse_value(definition, text)
        parsed = True
    except ValueError:
        parsed = False
    validator = Draft202012Validator(SCHEMA["properties"][definition.key])
    assert validator.is_valid(as_typed(definition, text)) == parsed


def test_settings_are_read_with_secrets_from_files(tmp_path: Path) -> None:
    for name in ("llm", "redis"):
        (tmp_path / name).write_text(f"canary-{name}-value\n")
    environ = {**GOOD, "LLM_API_KEY_FILE": str(tmp_path / "llm"), "REDIS_PASSWORD_FILE": str(tmp_path / "redis")}
    loaded = read_settings(ChorusSettings, {**environ, "PATH": "/bin", "TRUST_INITIAL": "80"})
    assert loaded.llm_api_key.reveal() == "canary-llm-value"
    assert loaded.trust_initial == 80
    assert "canary" not in repr(loaded)
    (tmp_path / "llm").write_text("your-api-key")
    with pytest.raises(ConfigurationError, match="not a placeholder") as caught:
        read_settings(ChorusSettings, environ)
    assert "your-api-key" not in str(caught.value)


def test_environment_file_follows_systemd() -> None:
    values, problems = parse_environment_file("; x\n#y\n\nA=1 2\nB='q u'\nC=\"x=y\"\nD=a#b\n")
    assert problems == []
    assert {key: value.text for key, value in values.items()} == {"A": "1 2", "B": "q u", "C": "x=y", "D": "a#b"}
