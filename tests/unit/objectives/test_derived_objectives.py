"""The platforms' objectives: what they are measured by, and each one's rules tried by promtool."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from groundwork.manifest import Platform, load
from groundwork.objectives.derivation import DerivedObjective, derive_objectives, make_spec
from groundwork.objectives.files import render_files, render_platform_rules
from groundwork.objectives.openslo import check_openslo, make_openslo
from groundwork.objectives.sloth import parse_spec
from groundwork.problems import ProblemError
from tests.unit.objectives.tools import PROMTOOL, promtool
from tests.unit.topology.systems import minimal

ROOT = Path(__file__).parents[3]
# Each part in a test of its own, so that they run side by side.
PARTS = {"chorus": 1, "support": 2, "ymera": 2, "ai-system": 10}


def platform(name: str) -> Platform:
    return load(ROOT / "platforms", name, "production", root=ROOT).platform


def derive(**objective: Any) -> list[DerivedObjective]:
    services = {"redis": {"kind": "redis", "hosts": "red"}, "nats": {"kind": "nats", "hosts": "red"}}
    return derive_objectives(Platform.model_validate(minimal(services=services, objectives={"it": objective})))


def refusals(**objective: Any) -> str:
    with pytest.raises(ProblemError) as caught:
        derive(**objective)
    return str(caught.value)


@PROMTOOL
@pytest.mark.parametrize(("name", "part"), [(name, part) for name, count in PARTS.items() for part in range(count)])
def test_promtool_passes_the_tests_of_every_objective(name: str, part: int, tmp_path: Path) -> None:
    files = render_files(platform(name))
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    tests = sorted(tmp_path.glob("tests/*.yaml"))
    assert len(tests) == len(derive_objectives(platform(name)))
    chosen = tests[part :: PARTS[name]]
    assert chosen
    for test in chosen:
        loaded = yaml.safe_load(test.read_text())
        assert len(loaded["tests"]) == 6
        promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules" / test.name))
    promtool("test", "rules", *map(str, chosen))


def test_ai_system_has_its_figures() -> None:
    derived = {one.slo.name: one for one in derive_objectives(platform("ai-system"))}
    assert len({one.name for one in derived.values()}) >= 25
    figures = {name: (one.slo.objective, one.slo.budget) for name, one in derived.items()}
    assert figures["memory-services-availability"] == (Decimal("99.95"), Decimal("0.0005"))
    assert figures["memory-services-errors"] == (Decimal("99.95"), Decimal("0.0005"))
    assert figures["gpu-services-availability"][0] == Decimal("99.5")
    assert figures["gpu-services-errors"][0] == Decimal("99.8")
    thresholds = {"coordination": "0\\\\.5", "memory": "0\\\\.1", "gpu": "2(\\\\.0)?", "language": "1(\\\\.0)?"}
    thresholds["web"] = "0\\\\.3"
    for category, bound in thresholds.items():
        one = derived[f"{category}-services-latency-p99"]
        assert (one.slo.objective, one.slo.budget) == (Decimal(99), Decimal("0.01"))
        assert f'le=~"{bound}"' in one.slo.sli.events.error_query  # type: ignore[union-attr]
    availability = derived["coordination-services-availability"].slo.sli.events
    assert availability is not None
    assert 'group=~"infra_core|coordination|observability|infra_core_pc2|async_pipeline"' in availability.total_query


def test_histograms_of_the_runtime_have_every_bound_that_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples/agent_runtime/src"))
    from agent_runtime.metrics import LATENCY_BUCKETS

    for name in PARTS:
        promised = {one.threshold for objective in platform(name).objectives.values() for one in objective.latency}
        assert promised <= set(LATENCY_BUCKETS), name


@pytest.mark.parametrize("name", PARTS)
def test_what_is_written_for_sloth_reads_the_same(name: str) -> None:
    derived = derive_objectives(platform(name))
    spec = make_spec(platform(name), derived)
    assert spec is not None
    assert parse_spec(render_files(platform(name))[f"sloth/{name}.yaml"]) == spec
    assert yaml.safe_load(render_platform_rules(platform(name)))["groups"]


@pytest.mark.parametrize("name", PARTS)
def test_openslo_documents_fit_their_schema(name: str) -> None:
    spec = make_spec(platform(name), derive_objectives(platform(name)))
    assert spec is not None
    documents = make_openslo(spec)
    assert [document["kind"] for document in documents[:3]] == ["DataSource", "Service", "SLO"]
    assert len(documents) == len(spec.slos) + 2
    for document in documents:
        assert check_openslo(document) == []
    broken = {**documents[2], "spec": {**documents[2]["spec"], "timeWindow": [{"duration": "30 days"}]}}
    assert check_openslo(broken)


def test_an_agent_of_a_group_is_matched_by_name() -> None:
    [one] = derive(agents=["worker"], availability=99.9)
    assert 'agent="worker"' in one.slo.sli.events.total_query  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        ({"groups": ["work"], "services": ["redis"], "availability": 99}, "measured differently"),
        ({"groups": ["work"], "availability": 99, "window": "7d"}, "28d or 30d"),
        ({"groups": ["work"], "latency": {"percentile": 50, "threshold": "1s"}}, "at least 85 %"),
        ({"services": ["nats"], "error_rate": 1}, "failures of these services are not counted"),
        ({"services": ["redis", "nats"], "availability": 99}, "several kinds"),
        ({"services": ["redis"], "latency": {"percentile": 99, "threshold": "1s"}}, "latency of services"),
    ],
)
def test_what_cannot_be_measured_is_refused(objective: dict[str, Any], told: str) -> None:
    assert told in refusals(**objective)


def test_agents_without_metrics_are_refused() -> None:
    groups = {"work": {"hosts": "red", "module": "m", "agents": {"worker": {"port": 9000, "metrics_path": None}}}}
    data = minimal(groups=groups, objectives={"it": {"groups": ["work"], "availability": 99}})
    with pytest.raises(ProblemError, match="no agent that has metrics"):
        derive_objectives(Platform.model_validate(data))


def test_what_is_promised_under_load_only_makes_no_rules() -> None:
    assert derive(groups=["work"], requests_per_second=50) == []
