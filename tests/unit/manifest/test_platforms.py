"""The platforms of this repository: they load in every environment and hold what their documents ask for."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from groundwork.manifest import Platform, load, manifest_schema
from groundwork.manifest.source import read

FOLDER = Path(__file__).parents[3] / "platforms"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if "." not in path.stem)
ENVIRONMENTS = [
    (name, environment)
    for name in NAMES
    for environment in ("production", *(path.stem.split(".")[1] for path in sorted(FOLDER.glob(f"{name}.*.yaml"))))
]


def platform(name: str, environment: str = "production") -> Platform:
    return load(FOLDER, name, environment, root=FOLDER.parent).platform


def test_the_four_platforms_are_there() -> None:
    assert NAMES == ["ai-system", "chorus", "support", "ymera"]
    assert {name for name, environment in ENVIRONMENTS if environment == "lab"} == set(NAMES)


@pytest.mark.parametrize(("name", "environment"), ENVIRONMENTS)
def test_each_loads_in_each_environment(name: str, environment: str) -> None:
    assert platform(name, environment).platform == name


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_accepts_each_as_it_is_written(name: str) -> None:
    validator = jsonschema.Draft202012Validator(manifest_schema())
    assert [error.message for error in validator.iter_errors(read(FOLDER / f"{name}.yaml").data)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("platfrm",), "x"),
        (("groups", "simulation", "hsts"), "app"),
        (("groups", "simulation", "agents", "agent-simulator", "port"), 70000),
        (("groups", "simulation", "needs"), [5]),
        (("services", "redis", "prt"), 1),
        (("services", "other"), {"hosts": "data"}),
        (("exposure", "web", "routes", "no-slash"), "agent-predictor"),
        (("lab", "hosts", "app"), []),
    ],
)
def test_the_schema_refuses_mistakes(path: tuple[str, ...], value: Any) -> None:
    data: Any = read(FOLDER / "chorus.yaml").data
    section = data
    for part in path[:-1]:
        section = section[part]
    section[path[-1]] = value
    assert not jsonschema.Draft202012Validator(manifest_schema()).is_valid(data)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(manifest_schema())


def test_no_platform_leaves_a_provided_secret_to_the_lab() -> None:
    for name in NAMES:
        assert [key for key, secret in platform(name, "lab").secrets.items() if secret.kind == "provided"] == []


def test_chorus_has_the_figures_of_its_documents() -> None:
    chorus = platform("chorus")
    configuration = chorus.groups["prediction"].configuration
    assert configuration is not None
    expected = {
        "LLM_TIMEOUT": 30, "LLM_RETRIES": 3, "REDIS_POOL_SIZE": 20, "API_WORKERS": 4, "AGENTS_MIN": 10,
        "AGENTS_MAX": 50,
        "AGENT_REQUEST_INTERVAL_MIN": 0.5, "AGENT_REQUEST_INTERVAL_MAX": 5.0, "TRUST_INITIAL": 100,
        "TRUST_THRESHOLD": 30,
        "TRUST_CONFLICT_PENALTY": 10, "TRUST_COOPERATION_BONUS": 1, "RISK_THRESHOLD": 0.7, "PREDICTION_INTERVAL": 2.0,
        "ANALYSIS_WINDOW": 20, "LOG_FILE": "/var/log/chorus/chorus.log", "LOG_MAXIMUM_BYTES": 52428800,
        "LOG_BACKUPS": 10,
        "HEALTH_CHECK_INTERVAL": 30, "HEALTH_CHECK_TIMEOUT": 10, "HEALTH_CHECK_FAILURES": 3,
    }  # fmt: skip
    assert {key: configuration.values[key] for key in expected} == expected
    predictor = chorus.groups["prediction"].agents["agent-predictor"]
    assert (predictor.port, predictor.replicas) == (8000, 4)
    lab = platform("chorus", "lab")
    assert lab.exposure["web"].server_names == ["chorus.lab.internal"]
    assert lab.groups["prediction"].agents["agent-predictor"].replicas == 4


def test_support_has_its_agents_by_tier() -> None:
    support = platform("support")
    tiers = {name: len(support.groups[name].agents) for name in ("essential", "revenue", "operational", "advanced")}
    assert tiers == {"essential": 47, "revenue": 76, "operational": 52, "advanced": 49}
    assert sum(tiers.values()) == 224
    assert all(support.groups[name].processes for name in tiers)
    assert support.secrets["jwt_secret"].minimum_length == 32
    assert {workflow.pattern for workflow in support.workflows.values()} == {
        "sequential", "parallel", "debate", "verification", "expert_panel",
    }  # fmt: skip
    assert len(list((FOLDER / "support/migrations").glob("000*.sql"))) == 5


def test_ai_system_has_its_groups_agents_and_objectives() -> None:
    system = platform("ai-system")
    groups = Counter(group.hosts for group in system.groups.values())
    agents = Counter(group.hosts for group in system.groups.values() for _ in group.agents)
    assert groups == {"main_pc": 11, "pc2": 7}
    assert agents == {"main_pc": 52, "pc2": 22}
    ports = [agent.port for _, agent in system.agents().values()]
    assert len(set(ports)) == 74
    assert ports.count(5555) == 1
    assert all(port == 5555 or port in range(8000, 8101) for port in ports if port)
    shares = [group.gpu for group in system.groups.values() if group.gpu and group.hosts == "main_pc"]
    assert [share.fraction for share in shares] == [0.25] * 4
    assert len(system.objectives) >= 25
    memory = system.objectives["memory-services"]
    assert (memory.availability, memory.error_rate) == (Decimal("99.95"), Decimal("0.05"))
    assert (memory.latency[0].percentile, memory.latency[0].threshold) == (Decimal(99), 0.1)
    categorised = {category for objective in system.objectives.values() for category in objective.categories}
    assert {group.category for group in system.groups.values()} == categorised
    assert platform("ai-system", "staging").machines["pc2"].cores == 8
    assert system.machines["pc2"].cores == 16


def test_each_gpu_group_is_one_process_with_one_share() -> None:
    for environment in ("production", "lab", "staging", "development"):
        groups = platform("ai-system", environment).groups.values()
        assert [group.processes for group in groups if group.gpu] == [1] * 5


def test_ymera_has_its_figures() -> None:
    ymera = platform("ymera")
    configuration = ymera.groups["communication"].configuration
    assert configuration is not None
    assert configuration.values["MAX_MESSAGE_SIZE"] == 10485760
    assert getattr(ymera.services["nats"], "maximum_payload", None) == 10485760
    agent = ymera.agents()["communication"][1]
    assert agent.scaling is not None
    assert (agent.scaling.minimum, agent.scaling.maximum, agent.resources.memory_max) == (3, 5, 512 * 1024**2)
    assert [(item.percentile, item.threshold) for item in ymera.objectives["messages"].latency] == [
        (Decimal(95), 0.05),
        (Decimal(99), 0.1),
    ]


def test_migrations_are_numbered_and_hold_no_index_inside_a_table() -> None:
    for folder in ("support", "ymera"):
        files = sorted((FOLDER / folder / "migrations").glob("*.sql"))
        assert [file.name[:4] for file in files] == [f"{number:04}" for number in range(1, len(files) + 1)]
        for file in files:
            for statement in file.read_text(encoding="utf-8").split(";"):
                assert not ("CREATE TABLE" in statement and "\n    INDEX" in statement.upper())
