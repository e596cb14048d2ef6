"""From the manifest's objectives to Sloth's: what each promise is measured by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from groundwork.manifest.objectives import Objective
from groundwork.manifest.platform import Platform
from groundwork.objectives.indicators import (
    Measure,
    match_any,
    measure_commands,
    measure_failures,
    measure_latency,
    measure_presence,
)
from groundwork.objectives.sloth import SMALLEST_OBJECTIVE, Alert, Alerting, Indicator, Slo, Spec
from groundwork.objectives.windows import PERIODS
from groundwork.problems import Problem, ProblemError

DAY = 86_400
PRESENCE = {
    "redis": ("redis", "redis_up"),
    "postgresql": ("postgresql", "pg_up"),
    "nats": ("probe", "probe_success"),
    "external": ("probe", "probe_success"),
}
"""Kinds of services: the job that looks after them, and its metric that is 1 when all is well."""


@dataclass(frozen=True)
class DerivedObjective:
    """One promise of the manifest as an objective of Sloth's format, with what it is measured by."""

    name: str
    """Name of the manifest's objective; one of those gives several of these."""
    slo: Slo
    measure: Measure
    days: int


def derive_objectives(platform: Platform) -> list[DerivedObjective]:
    """Return what the manifest's objectives promise, each measured by one indicator.

    ``requests_per_second`` is what a load must reach and no share of anything: it is judged by load tests.
    Raises ProblemError for everything that cannot be measured.
    """
    problems: list[Problem] = []
    derived: list[DerivedObjective] = []
    for name, objective in platform.objectives.items():
        try:
            derived += _derive(platform, name, objective)
        except ProblemError as error:
            problems += error.problems
    if problems:
        raise ProblemError(problems)
    return derived


def make_spec(platform: Platform, derived: list[DerivedObjective]) -> Spec | None:
    """Return the objectives as one file of Sloth's format; None where there are none."""
    if not derived:
        return None
    return Spec(version="prometheus/v1", service=platform.platform, slos=[one.slo for one in derived])


def _derive(platform: Platform, name: str, objective: Objective) -> Iterator[DerivedObjective]:
    key = f"objectives.{name}"
    days, rest = divmod(objective.window, DAY)
    problems: list[Problem] = []
    if rest or days not in PERIODS:
        allowed = " or ".join(f"{each}d" for each in PERIODS)
        given = f"{objective.window / DAY:g}d"
        problems.append(Problem("is no period of objectives", key=f"{key}.window", given=given, allowed=allowed))
    about_agents = bool(objective.groups or objective.agents or objective.categories)
    if about_agents + bool(objective.services) + bool(objective.exposure) > 1:
        allowed = "only agents (groups, agents, categories), only services, or only exposure"
        problems.append(Problem("is about things that are measured differently", key=key, allowed=allowed))
    if problems:
        raise ProblemError(problems)
    promises: list[tuple[str, Decimal, Measure]] = []
    if objective.services:
        promises += _service_promises(platform, key, objective)
    elif about_agents or objective.exposure:
        promises += _agent_promises(platform, key, objective)
    for suffix, percent, measure in promises:
        if percent < SMALLEST_OBJECTIVE:
            given, allowed = f"{percent:f} %", f"at least {SMALLEST_OBJECTIVE} % of good events"
            raise ProblemError([Problem("no alert on this could fire", key=key, given=given, allowed=allowed)])
        yield DerivedObjective(name, _make_slo(name, objective, suffix, percent, measure), measure, int(days))


def _make_slo(name: str, objective: Objective, suffix: str, percent: Decimal, measure: Measure) -> Slo:
    labels = {"objective": name, **({"team": objective.team} if objective.team else {})}
    return Slo(
        name=f"{name}-{suffix}",
        objective=percent,
        description=objective.description,
        labels=labels,
        sli=Indicator(events=measure.events),
        alerting=Alerting(page_alert=_severity("page"), ticket_alert=_severity("ticket")),
    )


def _severity(name: str) -> Alert:
    """By this label alerts are routed, those of objectives as those of hosts."""
    return Alert(labels={"severity": name})


def _agent_promises(platform: Platform, key: str, objective: Objective) -> Iterator[tuple[str, Decimal, Measure]]:
    agents = list_agents(platform, objective)
    declared = platform.agents()
    measured = [name for name in agents if declared[name][1].port is not None and declared[name][1].metrics_path]
    needs_agents = objective.error_rate is not None or objective.latency or not objective.exposure
    if needs_agents and not measured:
        raise ProblemError(
            [Problem("is about no agent that has metrics", key=key, allowed="agents with port and metrics_path")]
        )
    matcher, labels = _match_agents(platform, objective, measured) if measured else ("", "")
    own = sorted({path for n in measured for path in _own_routes(declared[n][1])} | {"/health", "/metrics", "/ready"})
    if objective.availability is not None:
        if objective.exposure:
            sites = match_any("exposure", objective.exposure)
            measure = measure_presence("probe", sites, "probe_success", f'exposure="{objective.exposure[0]}"')
        else:
            measure = measure_presence("agent", matcher, "agent_ready", labels)
        yield "availability", objective.availability, measure
    if objective.error_rate is not None:
        yield "errors", 100 - objective.error_rate, measure_failures(matcher, labels, own)
    for latency in objective.latency:
        threshold = Decimal(repr(latency.threshold))
        suffix = f"latency-p{latency.percentile.normalize():f}".replace(".", "-")
        yield suffix, latency.percentile, measure_latency(matcher, labels, own, threshold)


def _own_routes(agent: object) -> list[str]:
    return [str(path) for path in (getattr(agent, f"{kind}_path") for kind in ("health", "ready", "metrics")) if path]


def list_agents(platform: Platform, objective: Objective) -> list[str]:
    """Names of the agents that an objective is about; for a site, of those that its routes lead to."""
    groups = {
        n for n, group in platform.groups.items() if n in objective.groups or group.category in objective.categories
    }
    agents = set(objective.agents)
    for name in objective.exposure:
        for route in platform.exposure[name].routes.values():
            agents |= {route.agent} if route.agent else set()
            groups |= {route.group} if route.group else set()
    return [name for name, (group, _) in platform.agents().items() if group in groups or name in agents]


def _match_agents(platform: Platform, objective: Objective, measured: list[str]) -> tuple[str, str]:
    """A matcher of the agents' series, by group where whole groups are meant, and the labels of one of them."""
    declared = platform.agents()
    groups = list(dict.fromkeys(declared[name][0] for name in measured))
    whole = [name for name, (group, _) in declared.items() if group in groups]
    labels = f'agent="{measured[0]}",group="{groups[0]}"'
    if not objective.agents and not objective.exposure and set(whole) == set(list_agents(platform, objective)):
        return match_any("group", groups), labels
    return match_any("agent", measured), labels


def _service_promises(platform: Platform, key: str, objective: Objective) -> Iterator[tuple[str, Decimal, Measure]]:
    problems: list[Problem] = []
    kinds = {name: platform.services[name].kind for name in objective.services}
    for name, kind in kinds.items():
        if kind not in PRESENCE:
            problems.append(Problem("is not measured yet", key=f"{key}.services", given=f"{name}: {kind}"))
    if len(set(kinds.values())) > 1:
        given = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        problems.append(
            Problem("is about several kinds of services", key=f"{key}.services", given=given, allowed="one")
        )
    if objective.latency:
        allowed = "latency of agents and sites"
        problems.append(Problem("latency of services is not measured", key=f"{key}.latency", allowed=allowed))
    if objective.error_rate is not None and (set(kinds.values()) != {"redis"} or len(kinds) > 1):
        message = "failures of these services are not counted"
        problems.append(Problem(message, key=f"{key}.error_rate", given=", ".join(kinds.values()), allowed="one redis"))
    if problems:
        raise ProblemError(problems)
    if objective.availability is not None:
        job, metric = PRESENCE[next(iter(kinds.values()))]
        matcher, labels = match_any("service", objective.services), f'service="{objective.services[0]}"'
        yield "availability", objective.availability, measure_presence(job, matcher, metric, labels)
    if objective.error_rate is not None:
        yield "errors", 100 - objective.error_rate, measure_commands(objective.services[0])
