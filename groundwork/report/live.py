"""What an environment's Prometheus says, in one conversation; nothing where it cannot be asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from groundwork.objectives.budget import Budget, build_queries, read_budgets
from groundwork.objectives.derivation import derive_objectives, make_spec
from groundwork.objectives.given import read_given
from groundwork.objectives.prometheus import query_prometheus
from groundwork.problems import ProblemError
from groundwork.site import Site

HISTORY = "[24h:30m]"
"""How far back the small drawings go, and how fine they are."""
FLEET = {
    "up": 'up{job="node"}',
    "processor": '100 * (1 - avg by (host) (rate(node_cpu_seconds_total{mode="idle"}[5m])))',
    "memory": "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
    "disk": '100 * max by (host) (1 - node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|squashfs|nsfs"}'
    ' / node_filesystem_size_bytes{fstype!~"tmpfs|ramfs|squashfs|nsfs"})',
    "alerts": 'ALERTS{alertstate="firing"}',
    "since": "ALERTS_FOR_STATE",
    "history": f"slo:period_error_budget_remaining:ratio{HISTORY}",
}


@dataclass(frozen=True)
class Alert:
    """An alert that fires."""

    name: str
    severity: str
    labels: str
    since: float
    """Seconds since 1970; 0 where it is not known."""


@dataclass
class Live:
    """What was answered; ``missing`` says why nothing was."""

    missing: str = ""
    up: dict[str, bool] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    """By host: ``processor``, ``memory``, ``disk``, in percent."""
    alerts: list[Alert] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    """What was left of each objective's budget, as shares, the latest last."""


def ask_live(site: Site) -> Live:
    """Ask the environment's Prometheus for everything that a report shows."""
    if site.platform.observability.prometheus is None:
        return Live(missing="the platform declares no Prometheus (observability.prometheus)")
    try:
        own = make_spec(site.platform, derive_objectives(site.platform))
        specs = [*([own] if own else []), *read_given(site.platform, site.folder)]
        queries = dict(FLEET)
        for number, spec in enumerate(specs):
            queries |= {f"{number} {name}": query for name, query in build_queries(spec).items()}
        answers = query_prometheus(site, queries)
    except ProblemError as error:
        return Live(missing=f"Prometheus did not answer: {error}")
    live = Live()
    for sample in answers["up"]:
        live.up[_host(sample)] = float(sample["value"][1]) == 1
    for name in ("processor", "memory", "disk"):
        for sample in answers[name]:
            value = float(sample["value"][1])
            if math.isfinite(value):
                live.figures.setdefault(_host(sample), {})[name] = value
    live.alerts = sorted(_read_alerts(answers["alerts"], answers["since"]), key=lambda one: (one.severity, one.name))
    for number, spec in enumerate(specs):
        live.budgets += read_budgets(spec, {n: answers[f"{number} {n}"] for n in build_queries(spec)})
    for series in answers["history"]:
        name = series["metric"].get("sloth_slo", "")
        live.history[name] = [float(value) for _, value in series["values"]]
    return live


def _host(sample: dict[str, Any]) -> str:
    return str(sample["metric"].get("host", ""))


def _read_alerts(firing: Iterable[dict[str, Any]], since: Iterable[dict[str, Any]]) -> list[Alert]:
    began = {_key(sample["metric"]): float(sample["value"][1]) for sample in since}
    found = []
    for sample in firing:
        labels = sample["metric"]
        shown = ", ".join(
            f"{k}={v}" for k, v in sorted(labels.items()) if k not in _UNSHOWN and not k.startswith("sloth")
        )
        found.append(
            Alert(labels.get("alertname", ""), labels.get("severity", ""), shown, began.get(_key(labels), 0.0))
        )
    return found


_UNSHOWN = frozenset({"__name__", "alertname", "alertstate", "severity", "platform", "environment"})


def _key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in labels.items() if k not in ("__name__", "alertstate")))
