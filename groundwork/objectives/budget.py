"""Error budgets as Prometheus knows them, and whether a release may go ahead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from groundwork.objectives.sloth import Spec

Verdict = Literal["go", "guarded", "stop"]
GUARDED_BELOW, STOP_BELOW = 0.25, 0.15
"""Shares of the budget left: below the first a release needs care, below the second none goes out."""
QUERIES = {
    "remaining": 'slo:period_error_budget_remaining:ratio{sloth_service="%s"}',
    "burn_rate": 'slo:current_burn_rate:ratio{sloth_service="%s"}',
    "alerts": 'ALERTS{sloth_service="%s",alertstate="firing"}',
}


@dataclass(frozen=True)
class Budget:
    """One objective's budget. None is what there is no measurement of."""

    objective: str
    target: float
    """Promised percentage."""
    remaining: float | None
    """Share of the period's budget that is left; below 0 when it is overspent."""
    burn_rate: float | None
    """Budget spent per time over the last five minutes; 1 spends it exactly in the period."""
    firing: tuple[str, ...]
    """Severities of its alerts that fire."""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data, for ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class Judgement:
    """Whether a release may go ahead, and every reason why not."""

    verdict: Verdict
    reasons: tuple[str, ...]


def build_queries(spec: Spec) -> dict[str, str]:
    """The PromQL that ``read_budgets`` needs the answers to, by name."""
    return {name: query % spec.service for name, query in QUERIES.items()}


def read_budgets(spec: Spec, answers: Mapping[str, list[dict[str, Any]]]) -> list[Budget]:
    """Return the budget of every declared objective; ``answers`` are result vectors of Prometheus's HTTP API."""
    remaining, burning = _by_objective(answers["remaining"]), _by_objective(answers["burn_rate"])
    firing: dict[str, set[str]] = {}
    for sample in answers["alerts"]:
        labels = sample["metric"]
        firing.setdefault(labels.get("sloth_slo", ""), set()).add(labels.get("sloth_severity", ""))
    return [
        Budget(
            slo.name,
            float(slo.objective),
            remaining.get(slo.name),
            burning.get(slo.name),
            tuple(sorted(firing.get(slo.name, ()))),
        )
        for slo in spec.slos
    ]


def _by_objective(vector: Iterable[dict[str, Any]]) -> dict[str, float]:
    values = {sample["metric"].get("sloth_slo", ""): float(sample["value"][1]) for sample in vector}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def judge(budgets: Iterable[Budget], stop_below: float = STOP_BELOW, guarded_below: float = GUARDED_BELOW) -> Judgement:
    """Judge whether a release may go ahead: not on a spent budget, not during a page, not without measurements.

    ``stop_below`` and ``guarded_below`` are shares of the budget, from 0 to 1.
    """
    stops: list[str] = []
    cautions: list[str] = []
    found = list(budgets)
    if not found:
        stops.append("no objectives are declared")
    for one in found:
        if "page" in one.firing:
            stops.append(f"{one.objective}: its page fires")
        if one.remaining is None:
            stops.append(f"{one.objective}: there is no measurement")
        elif one.remaining < stop_below:
            stops.append(f"{one.objective}: {one.remaining:.1%} of the budget are left, of at least {stop_below:.0%}")
        elif one.remaining < guarded_below:
            cautions.append(f"{one.objective}: {one.remaining:.1%} of the budget are left")
        if "ticket" in one.firing:
            cautions.append(f"{one.objective}: its ticket fires")
    if stops:
        return Judgement("stop", tuple(stops))
    return Judgement("guarded" if cautions else "go", tuple(cautions))
