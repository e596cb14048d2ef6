"""Objectives that users bring in files of Sloth's format, beside those of the manifest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from groundwork.manifest.platform import Platform
from groundwork.objectives.alerts import absent_annotations, absent_name, alert_annotations, alert_labels, alert_name
from groundwork.objectives.files import HEADER, dump
from groundwork.objectives.rules import identity_labels, make_groups, ratio_name, selector
from groundwork.objectives.sloth import Slo, Spec, read_spec
from groundwork.objectives.windows import PAIRS, QUERIED, SUMMED, Severity
from groundwork.problems import Problem, ProblemError

# Share of each window that an outage of five minutes fills.
_MINUTES = {"5m": 5, "30m": 30, "1h": 60, "2h": 120, "6h": 360, "1d": 1440, "3d": 4320}


def read_given(platform: Platform, folder: Path) -> list[Spec]:
    """Read the files that the manifest names, from its folder.

    Raises ProblemError with every mistake in them, and for two files about one service.
    """
    prometheus = platform.observability.prometheus
    problems: list[Problem] = []
    specs: list[Spec] = []
    owners = {platform.platform: "the manifest's own objectives"}
    for number, name in enumerate(prometheus.objective_files if prometheus else ()):
        try:
            spec = read_spec(folder / name, name)
        except ProblemError as error:
            problems += error.problems
            continue
        owner = owners.setdefault(spec.service, name)
        if owner != name:
            key = f"observability.prometheus.objective_files.{number}"
            problems.append(Problem(f"is about the same service as {owner}", key=key, given=spec.service))
        specs.append(spec)
    if problems:
        raise ProblemError(problems)
    return specs


def render_given_rules(specs: Iterable[Spec]) -> str:
    """Return one rule file with the objectives of all files, for a period of 30 days."""
    return HEADER + dump({"groups": [group for spec in specs for slo in spec.slos for group in make_groups(spec, slo)]})


def render_given_files(spec: Spec) -> dict[str, str]:
    """Return rules, alerts alone, and tests of the alerts for each objective of a file, by relative path.

    What feeds a query of the user's is not known here, so its alerts are tried on made-up ratios: healthy, an
    outage of five minutes, four times the budget, and nothing measured.
    """
    files: dict[str, str] = {}
    for slo in spec.slos:
        identifier, groups = spec.identifier(slo), make_groups(spec, slo)
        files[f"rules/{identifier}.yaml"] = HEADER + dump({"groups": groups})
        alerts = [group for group in groups if group["name"].startswith("sloth-slo-alerts-")]
        files[f"alerts/{identifier}.yaml"] = HEADER + dump({"groups": alerts})
        files[f"tests/{identifier}.yaml"] = HEADER + dump(make_alert_tests(spec, slo, f"../alerts/{identifier}.yaml"))
    return files


def make_alert_tests(spec: Spec, slo: Slo, rule_file: str) -> dict[str, Any]:
    """Return a test file for promtool that tries the alerts of one objective on ratios."""
    budget = float(slo.budget)
    cases: list[tuple[dict[str, float], tuple[Severity, ...]]] = [
        (dict.fromkeys(_MINUTES, 0.0), ()),
        ({window: 5 / minutes for window, minutes in _MINUTES.items()}, _fired_by_outage(slo)),
        (dict.fromkeys(_MINUTES, 4 * budget), ("ticket",)),
    ]
    tests: list[dict[str, Any]] = [
        {
            "interval": "1m",
            "input_series": _feed(spec, slo, ratios),
            "alert_rule_test": [_expect(spec, slo, severities)],
        }
        for ratios, severities in cases
    ]
    labels = {**identity_labels(spec, slo), **alert_labels(spec, slo, "ticket")}
    absent = {"exp_labels": labels, "exp_annotations": absent_annotations(spec, slo)}
    unmeasured = [
        {"eval_time": "5m", "alertname": absent_name(slo), "exp_alerts": []},
        {"eval_time": "15m", "alertname": absent_name(slo), "exp_alerts": [absent]},
        _expect(spec, slo, ()),
    ]
    tests.append(
        {
            "interval": "1m",
            "input_series": [{"series": "unrelated", "values": "1+0x20"}],
            "alert_rule_test": unmeasured,
        }
    )
    return {"rule_files": [rule_file], "evaluation_interval": "1m", "tests": tests}


def _fired_by_outage(slo: Slo) -> tuple[Severity, ...]:
    """A page always: what its windows would see too late is what the rule for outages is for."""
    ticket = any(
        pair.severity == "ticket" and 5 / _MINUTES[pair.long] > float(pair.threshold(slo.budget, 30)) for pair in PAIRS
    )
    return ("page", "ticket") if ticket else ("page",)


def _feed(spec: Spec, slo: Slo, ratios: dict[str, float]) -> list[dict[str, str]]:
    series = [
        {
            "series": f'{ratio_name(window)}{{{selector(spec, slo)}, sloth_window="{window}"}}',
            "values": f"{ratios[window]!r}+0x20",
        }
        for window in (*QUERIED, *SUMMED)
    ]
    total = f"slo:sli_total:rate5m{{{selector(spec, slo)}}}"
    return [*series, {"series": total, "values": "1+0x20"}]


def _expect(spec: Spec, slo: Slo, severities: tuple[Severity, ...]) -> dict[str, Any]:
    disabled = {"page": slo.alerting.page_alert.disable, "ticket": slo.alerting.ticket_alert.disable}
    expected = [
        {
            "exp_labels": {**identity_labels(spec, slo), **alert_labels(spec, slo, severity)},
            "exp_annotations": alert_annotations(spec, slo, severity),
        }
        for severity in severities
        if not disabled[severity]
    ]
    return {"eval_time": "15m", "alertname": alert_name(slo), "exp_alerts": expected}
