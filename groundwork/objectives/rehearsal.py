"""Tests of an objective's rules for ``promtool test rules``: six cases on made-up series of what it is measured by.

Healthy: no alert. Everything fails: a page within five minutes, after more than an hour without a failure. Four times
the budget: a ticket and no page. Idle: no ratio, no NaN, and none in the period. No series of failures yet: a ratio of
zero. Nothing measured: an alert says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from groundwork.objectives.alerts import (
    absent_annotations,
    absent_name,
    alert_annotations,
    alert_labels,
    alert_name,
)
from groundwork.objectives.derivation import DerivedObjective
from groundwork.objectives.indicators import GAUGE, Sample
from groundwork.objectives.rules import identity_labels, make_groups, ratio_name, selector
from groundwork.objectives.sloth import Spec
from groundwork.objectives.windows import Severity

EVENTS = 1_000_000
"""Events of a minute in the made-up series: shares down to a millionth are whole numbers of them."""
HISTORY = 75
"""Minutes without a failure before the outage: more than the hour that a page looks back on."""
SLOW_BURN = 4
Test = dict[str, Any]


@dataclass(frozen=True)
class Stretch:
    """So many minutes with this share of failures; without events where ``idle``."""

    minutes: int
    failing: Decimal = Decimal(0)
    idle: bool = False


def make_tests(spec: Spec, one: DerivedObjective, rule_file: str) -> dict[str, Any]:
    """Return the test file of one derived objective, for the rules in ``rule_file`` (relative to the test file)."""
    tests = [
        _healthy(spec, one),
        _outage(spec, one),
        _slow_burn(spec, one),
        _idle(spec, one),
        _without_failures(spec, one),
        _unmeasured(spec, one),
    ]
    # One after the other, recordings first: by themselves the groups run in any order, and lag by an interval.
    order = [group["name"] for group in make_groups(spec, one.slo, one.days)]
    return {"rule_files": [rule_file], "evaluation_interval": "1m", "group_eval_order": order, "tests": tests}


def feed(
    samples: Sequence[Sample], stretches: Sequence[Stretch], leave_out: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Return promtool's ``input_series``: what the samples show through the stretches, one value a minute."""
    return [
        {"series": sample.series, "values": _values(sample, stretches)}
        for sample in samples
        if sample.series not in leave_out
    ]


def _values(sample: Sample, stretches: Sequence[Stretch]) -> str:
    parts: list[str] = []
    reached = Decimal(0)
    for stretch in stretches:
        step = sample.good * (1 - stretch.failing) + sample.failed * stretch.failing
        if sample.kind == GAUGE:
            # A gauge of what is looked at regularly: where that is idle, nothing looks at it.
            parts.append(f"_x{stretch.minutes}" if stretch.idle else f"{_plain(step)}+0x{stretch.minutes - 1}")
            continue
        step = Decimal(0) if stretch.idle else step * EVENTS
        parts.append(f"{_plain(reached)}+{_plain(step)}x{stretch.minutes - 1}")
        reached += step * stretch.minutes
    return " ".join(parts)


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")


def _alert(spec: Spec, one: DerivedObjective, minute: int, *severities: Severity) -> dict[str, Any]:
    expected = [
        {
            "exp_labels": {**identity_labels(spec, one.slo), **alert_labels(spec, one.slo, severity)},
            "exp_annotations": alert_annotations(spec, one.slo, severity),
        }
        for severity in severities
    ]
    return {"eval_time": f"{minute}m", "alertname": alert_name(one.slo), "exp_alerts": expected}


def _absent(spec: Spec, one: DerivedObjective, minute: int, fires: bool) -> dict[str, Any]:
    labels = {**identity_labels(spec, one.slo), **alert_labels(spec, one.slo, "ticket")}
    expected = [{"exp_labels": labels, "exp_annotations": absent_annotations(spec, one.slo)}] if fires else []
    return {"eval_time": f"{minute}m", "alertname": absent_name(one.slo), "exp_alerts": expected}


def _value(spec: Spec, one: DerivedObjective, minute: int, name: str, value: Decimal | None) -> dict[str, Any]:
    """What a recording must be; None where it must not be at all. Rounded: promtool compares floats exactly."""
    expression = f"round({name}{{{selector(spec, one.slo)}}}, 0.000001)"
    samples = [] if value is None else [{"labels": "{" + _all_labels(spec, one, name) + "}", "value": float(value)}]
    return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}


def _all_labels(spec: Spec, one: DerivedObjective, name: str) -> str:
    windows = {"slo:current_burn_rate:ratio": "5m", "slo:period_error_budget_remaining:ratio": f"{one.days}d"}
    window = windows.get(name, name.removeprefix("slo:sli_error:ratio_rate"))
    # As with Sloth, burn rates keep the window of the ratio that they come from.
    more = f', sloth_window="{window}"' if window != name else ""
    return selector(spec, one.slo) + more


def _healthy(spec: Spec, one: DerivedObjective) -> Test:
    period = ratio_name(f"{one.days}d")
    return {
        "name": f"{one.slo.name}: healthy",
        "interval": "1m",
        "input_series": feed(one.measure.samples, [Stretch(16)]),
        "alert_rule_test": [_alert(spec, one, 15), _absent(spec, one, 15, fires=False)],
        "promql_expr_test": [
            *(_value(spec, one, 15, name, Decimal(0)) for name in (ratio_name("5m"), ratio_name("3d"), period)),
            _value(spec, one, 15, "slo:error_budget:ratio", one.slo.budget),
            _value(spec, one, 15, "slo:objective:ratio", one.slo.target),
            _value(spec, one, 15, "slo:period_error_budget_remaining:ratio", Decimal(1)),
        ],
    }


def _outage(spec: Spec, one: DerivedObjective) -> Test:
    firing = f'count(ALERTS{{{selector(spec, one.slo)}, alertstate="firing", sloth_severity="page"}})'
    page = {"expr": firing, "eval_time": f"{HISTORY + 5}m", "exp_samples": [{"labels": "{}", "value": 1}]}
    return {
        "name": f"{one.slo.name}: everything fails",
        "interval": "1m",
        # The first minute of failures is HISTORY. Whether a ticket fires by then as well depends on the budget.
        "input_series": feed(one.measure.samples, [Stretch(HISTORY), Stretch(6, Decimal(1))]),
        "alert_rule_test": [_alert(spec, one, HISTORY - 1)],
        "promql_expr_test": [page],
    }


def _slow_burn(spec: Spec, one: DerivedObjective) -> Test:
    share = one.slo.budget * SLOW_BURN
    return {
        "name": f"{one.slo.name}: {SLOW_BURN} times the budget",
        "interval": "1m",
        "input_series": feed(one.measure.samples, [Stretch(21, share)]),
        "alert_rule_test": [_alert(spec, one, 20, "ticket")],
        "promql_expr_test": [
            _value(spec, one, 20, ratio_name("1h"), share),
            _value(spec, one, 20, "slo:current_burn_rate:ratio", Decimal(SLOW_BURN)),
        ],
    }


def _idle(spec: Spec, one: DerivedObjective) -> Test:
    nothing = [ratio_name("5m"), "slo:current_burn_rate:ratio"]
    kept = [ratio_name("1d"), ratio_name(f"{one.days}d")]
    remaining = "slo:period_error_budget_remaining:ratio"
    return {
        "name": f"{one.slo.name}: idle",
        "interval": "1m",
        "input_series": feed(one.measure.samples, [Stretch(12), Stretch(12, idle=True)]),
        "alert_rule_test": [_alert(spec, one, 22)],
        "promql_expr_test": [
            *(_value(spec, one, 22, name, None) for name in nothing),
            *(_value(spec, one, 22, name, Decimal(0)) for name in kept),
            _value(spec, one, 22, remaining, Decimal(1)),
        ],
    }


def _without_failures(spec: Spec, one: DerivedObjective) -> Test:
    return {
        "name": f"{one.slo.name}: no series of failures yet",
        "interval": "1m",
        "input_series": feed(one.measure.samples, [Stretch(13)], one.measure.only_failures),
        "alert_rule_test": [_alert(spec, one, 12)],
        "promql_expr_test": [_value(spec, one, 12, ratio_name("5m"), Decimal(0))],
    }


def _unmeasured(spec: Spec, one: DerivedObjective) -> Test:
    return {
        "name": f"{one.slo.name}: nothing measured",
        "interval": "1m",
        "input_series": [{"series": "unrelated", "values": "1+0x16"}],
        "alert_rule_test": [_absent(spec, one, 5, fires=False), _absent(spec, one, 15, fires=True)],
        "promql_expr_test": [_value(spec, one, 15, ratio_name("5m"), None)],
    }
