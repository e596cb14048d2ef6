"""Alerts of objectives: two windows each, so that they fire soon and stop when the trouble is over."""

from __future__ import annotations

from typing import Any

from groundwork.objectives.sloth import Labels, Slo, Spec
from groundwork.objectives.windows import (
    OUTAGE_RATIO,
    SHORT,
    Severity,
    WindowPair,
    format_decimal,
    list_pairs,
    needs_outage_rule,
)

Rule = dict[str, Any]
ABSENT_AFTER = "10m"
"""How long an objective may be without any measurement."""


def alert_name(slo: Slo) -> str:
    """Name of an objective's alerts: its own, else made of the objective's."""
    words = slo.name.replace("_", "-").replace(".", "-").split("-")
    return slo.alerting.name or "".join(word[:1].upper() + word[1:] for word in words)


def absent_name(slo: Slo) -> str:
    """Name of the alert that an objective is not measured."""
    return f"{alert_name(slo)}NotMeasured"


def list_alerts(spec: Spec, slo: Slo, days: int) -> list[Rule]:
    """The page, the ticket, and the alert that nothing is measured."""
    rules: list[Rule] = []
    severities: tuple[Severity, ...] = ("page", "ticket")
    for severity in severities:
        own = slo.alerting.page_alert if severity == "page" else slo.alerting.ticket_alert
        if own.disable:
            continue
        rules.append(
            {
                "alert": alert_name(slo),
                "expr": _expression(spec, slo, severity, days),
                "labels": alert_labels(spec, slo, severity),
                "annotations": alert_annotations(spec, slo, severity),
            }
        )
    measured = "slo:sli_total:rate5m" if slo.sli.events else "slo:sli_error:ratio_rate5m"
    rules.append(
        {
            "alert": absent_name(slo),
            "expr": f"absent({measured}{{{_chosen(spec, slo)}}})",
            "for": ABSENT_AFTER,
            "labels": alert_labels(spec, slo, "ticket"),
            "annotations": absent_annotations(spec, slo),
        }
    )
    return rules


def alert_labels(spec: Spec, slo: Slo, severity: Severity) -> Labels:
    """Labels of one alert, those of the expression's result aside."""
    own = slo.alerting.page_alert if severity == "page" else slo.alerting.ticket_alert
    return {**spec.labels, **slo.labels, **slo.alerting.labels, **own.labels, "sloth_severity": severity}


def alert_annotations(spec: Spec, slo: Slo, severity: Severity) -> Labels:
    """What people read: which objective, and how to look closer."""
    own = slo.alerting.page_alert if severity == "page" else slo.alerting.ticket_alert
    what = {"page": "burns so fast that somebody must act now", "ticket": "burns too fast to last the period"}
    return {
        "title": f"{spec.service}: {slo.name} at risk",
        "summary": f"{spec.service}: the error budget of {slo.name} {what[severity]}",
        "description": f"Promised are {format_decimal(slo.objective)} %. {slo.description}".strip(),
        **slo.alerting.annotations,
        **own.annotations,
    }


def absent_annotations(spec: Spec, slo: Slo) -> Labels:
    """What people read when there is nothing to judge by."""
    return {
        "title": f"{spec.service}: {slo.name} is not measured",
        "summary": f"{spec.service}: there is no measurement of {slo.name}, so nothing says that it is kept",
    }


def _chosen(spec: Spec, slo: Slo) -> str:
    identifier = spec.identifier(slo)
    return f'sloth_id="{identifier}", sloth_service="{spec.service}", sloth_slo="{slo.name}"'


def _expression(spec: Spec, slo: Slo, severity: Severity, days: int) -> str:
    chosen = _chosen(spec, slo)
    parts = [_pair(pair, slo, chosen, days) for pair in list_pairs(severity, slo.budget, days)]
    if severity == "page" and needs_outage_rule(slo.budget, days):
        # Everything fails: five minutes of it are enough, where an hour's window would take longer to see.
        parts.append(f"({_above(SHORT, chosen, format_decimal(OUTAGE_RATIO), '>=')})")
    return "\nor\n".join(parts)


def _pair(pair: WindowPair, slo: Slo, chosen: str, days: int) -> str:
    threshold = format_decimal(pair.threshold(slo.budget, days))
    return f"(\n    {_above(pair.short, chosen, threshold)}\n    and\n    {_above(pair.long, chosen, threshold)}\n)"


def _above(window: str, chosen: str, threshold: str, compare: str = ">") -> str:
    return f"max(slo:sli_error:ratio_rate{window}{{{chosen}}} {compare} {threshold}) without (sloth_window)"
