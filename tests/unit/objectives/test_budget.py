"""Budgets from what Prometheus answers, and the release gate."""

from __future__ import annotations

from typing import Any

import pytest

from groundwork.objectives.budget import Budget, judge, read_budgets
from groundwork.objectives.sloth import parse_spec
from tests.unit.objectives.test_sloth_files import FILE


def vector(**values: str) -> list[dict[str, Any]]:
    return [{"metric": {"sloth_slo": name}, "value": [0, value]} for name, value in values.items()]


def test_what_prometheus_answers_is_read() -> None:
    page = {"metric": {"sloth_slo": "speed", "sloth_severity": "page"}, "value": [0, "1"]}
    answers = {"remaining": vector(requests="0.5"), "burn_rate": vector(requests="2", speed="NaN"), "alerts": [page]}
    budgets = read_budgets(parse_spec(FILE), answers)
    assert budgets == [Budget("requests", 99.9, 0.5, 2.0, ()), Budget("speed", 95.0, None, None, ("page",))]


def budget(remaining: float | None, *firing: str) -> Budget:
    return Budget("it", 99.9, remaining, 0.0, firing)


@pytest.mark.parametrize(
    ("budgets", "verdict"),
    [
        ([budget(1.0)], "go"),
        ([budget(0.25)], "go"),
        ([budget(0.2)], "guarded"),
        ([budget(0.9, "ticket")], "guarded"),
        ([budget(0.14)], "stop"),
        ([budget(-3.0)], "stop"),
        ([budget(0.9, "page")], "stop"),
        ([budget(1.0), budget(None)], "stop"),
        ([], "stop"),
    ],
)
def test_the_gate(budgets: list[Budget], verdict: str) -> None:
    judgement = judge(budgets)
    assert judgement.verdict == verdict
    assert bool(judgement.reasons) == (verdict != "go")
