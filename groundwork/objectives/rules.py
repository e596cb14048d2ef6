"""Recording rules of objectives, with the names, labels and groups of Sloth 0.16, and without its known faults.

- A service without events has no ratio, where Sloth records NaN that spoils the whole period (sloth#348).
- The period's ratio is weighted by events, where Sloth's is the mean of five-minute ratios (sloth#332).
- A series of failures that is not there yet counts as no failures.
- Figures are exact decimals. Labels of the user are on ``sloth_slo_info`` and on alerts only: on recordings, changing
  one makes two series of one objective until the older has aged out (sloth#311).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from groundwork.objectives.alerts import list_alerts
from groundwork.objectives.sloth import Labels, Slo, Spec, fill_window
from groundwork.objectives.windows import PERIODS, QUERIED, SHORT, SUMMED, format_decimal
from groundwork.problems import Problem, ProblemError

Rule = dict[str, Any]
Group = dict[str, Any]
ERRORS, TOTAL = "slo:sli_errors:rate5m", "slo:sli_total:rate5m"
"""What the longer windows are summed from; not Sloth's."""
VERSION = "groundwork"


def make_groups(spec: Spec, slo: Slo, days: int = 30) -> list[Group]:
    """Return the three rule groups of one objective, for a period of 28 or 30 days.

    Raises ProblemError for another period.
    """
    if days not in PERIODS:
        allowed = " or ".join(f"{each}d" for each in PERIODS)
        raise ProblemError([Problem("is no period of objectives", key=slo.name, given=f"{days}d", allowed=allowed)])
    identifier = spec.identifier(slo)
    return [
        {"name": f"sloth-slo-sli-recordings-{identifier}", "rules": _indicator_rules(spec, slo, days)},
        {"name": f"sloth-slo-meta-recordings-{identifier}", "rules": _meta_rules(spec, slo, days)},
        {"name": f"sloth-slo-alerts-{identifier}", "rules": list_alerts(spec, slo, days)},
    ]


def make_document(spec: Spec, days: int = 30) -> dict[str, list[Group]]:
    """Return a Prometheus rule file of all objectives of a file."""
    return {"groups": [group for slo in spec.slos for group in make_groups(spec, slo, days)]}


def identity_labels(spec: Spec, slo: Slo) -> Labels:
    """The labels by which an objective is known, and nothing that may change."""
    return {"sloth_id": spec.identifier(slo), "sloth_service": spec.service, "sloth_slo": slo.name}


def selector(spec: Spec, slo: Slo) -> str:
    """The same as a PromQL selector."""
    return ", ".join(f'{name}="{value}"' for name, value in identity_labels(spec, slo).items())


def ratio_name(window: str) -> str:
    """Sloth's name of the ratio of failed events in a window."""
    return f"slo:sli_error:ratio_rate{window}"


def _indicator_rules(spec: Spec, slo: Slo, days: int) -> list[Rule]:
    labels, period = identity_labels(spec, slo), f"{days}d"
    chosen = selector(spec, slo)
    rules: list[Rule] = []

    def record(name: str, expression: str, window: str = "") -> None:
        more = {"sloth_window": window} if window else {}
        rules.append({"record": name, "expr": expression, "labels": {**labels, **more}})

    events, raw = slo.sli.events, slo.sli.raw
    if events is not None:
        record(TOTAL, fill_window(events.total_query, SHORT))
        record(ERRORS, _errors(events.error_query, events.total_query, SHORT))
        record(ratio_name(SHORT), f"{ERRORS}{{{chosen}}} / ({TOTAL}{{{chosen}}} > 0)", SHORT)
        for window in QUERIED[1:]:
            errors = _errors(events.error_query, events.total_query, window)
            total = fill_window(events.total_query, window)
            record(ratio_name(window), f"({errors}) / ((\n{total}\n) > 0)", window)
        for window in (*SUMMED, period):
            expression = (
                f"sum_over_time({ERRORS}{{{chosen}}}[{window}]) / (sum_over_time({TOTAL}{{{chosen}}}[{window}]) > 0)"
            )
            record(ratio_name(window), expression, window)
    elif raw is not None:
        for window in QUERIED:
            # NaN compares as false: what has no value has no sample.
            record(ratio_name(window), f"(\n{fill_window(raw.error_ratio_query, window)}\n) >= 0", window)
        for window in (*SUMMED, period):
            expression = f"avg_over_time({ratio_name(SHORT)}{{{chosen}}}[{window}])"
            record(ratio_name(window), expression, window)
    return rules


def _errors(error_query: str, total_query: str, window: str) -> str:
    """Failed events; none where their series is not there and others are."""
    errors, total = fill_window(error_query, window), fill_window(total_query, window)
    return f"(\n{errors}\n) or 0 * (\n{total}\n)"


def _meta_rules(spec: Spec, slo: Slo, days: int) -> list[Rule]:
    labels, chosen = identity_labels(spec, slo), selector(spec, slo)

    def burn_rate(window: str) -> str:
        joined = "on(sloth_id, sloth_slo, sloth_service)"
        return f"{ratio_name(window)}{{{chosen}}} / {joined} group_left slo:error_budget:ratio{{{chosen}}}"

    information = {
        **spec.labels,
        **slo.labels,
        "sloth_mode": "cli-gen-prom",
        "sloth_objective": format_decimal(slo.objective),
        "sloth_spec": spec.version,
        "sloth_version": VERSION,
    }
    expressions = {
        "slo:objective:ratio": f"vector({format_decimal(slo.target)})",
        "slo:error_budget:ratio": f"vector({format_decimal(slo.budget)})",
        "slo:time_period:days": f"vector({days})",
        "slo:current_burn_rate:ratio": burn_rate(SHORT),
        "slo:period_burn_rate:ratio": burn_rate(f"{days}d"),
        "slo:period_error_budget_remaining:ratio": f"1 - slo:period_burn_rate:ratio{{{chosen}}}",
    }
    rules: list[Rule] = [
        {"record": name, "expr": expression, "labels": labels} for name, expression in expressions.items()
    ]
    rules.append({"record": "sloth_slo_info", "expr": "vector(1)", "labels": {**information, **labels}})
    return rules


def list_recorded(groups: Iterable[Group]) -> list[str]:
    """Names that the groups record, each once."""
    return list(dict.fromkeys(rule["record"] for group in groups for rule in group["rules"] if "record" in rule))
