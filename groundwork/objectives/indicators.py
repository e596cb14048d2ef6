"""What objectives are measured by: PromQL over the metrics that the platform's parts show, and samples of them.

Agents show ``agent_ready``, ``agent_requests_total{route,status}``, ``agent_request_duration_seconds`` (a histogram by
route) and, where they work for each other, ``agent_work_total{outcome}`` and ``agent_work_duration_seconds``: the
runtime's contract. What Prometheus itself notes as ``up`` counts wherever something that should answer does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from groundwork.objectives.sloth import WINDOW, Events

GAUGE, COUNTER = "gauge", "counter"
REQUESTS, WORK = "agent_requests_total", "agent_work_total"
DURATION, WORK_DURATION = "agent_request_duration_seconds", "agent_work_duration_seconds"


@dataclass(frozen=True)
class Sample:
    """One series for trying an indicator out: how it moves when a share of the events fails.

    A gauge has the value ``good`` times the share of good events plus ``failed`` times that of failed ones; a
    counter grows by as much for each event.
    """

    series: str
    kind: str
    good: int
    failed: int


@dataclass(frozen=True)
class Measure:
    """An indicator with the series that feed it."""

    events: Events
    samples: tuple[Sample, ...]
    only_failures: tuple[str, ...] = ()
    """Series that come into being with the first failure."""

    @property
    def counts_events(self) -> bool:
        """Whether there are times without events; what is looked at regularly has none."""
        return any(sample.kind == COUNTER for sample in self.samples)


def quote_value(text: str) -> str:
    """A text between double quotes of PromQL."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def match_any(label: str, values: list[str], also_empty: bool = False) -> str:
    """A matcher for one of several exact values."""
    if len(values) == 1 and not also_empty:
        return f'{label}="{quote_value(values[0])}"'
    pattern = "|".join(re.sub(r"([.+*?^$()\[\]{}|\\])", r"\\\1", value) for value in values)
    return f'{label}=~"{quote_value(pattern)}{"|" if also_empty else ""}"'


def measure_presence(job: str, matcher: str, good_metric: str, labels: str) -> Measure:
    """How often, of the times it was looked at, something was well.

    ``good_metric`` is 1 when it is; without it, or when what tells of it does not answer, it is not. ``labels``
    are those of one series that the matcher fits.
    """
    chosen = f'job="{job}",{matcher}'
    total = f"sum(count_over_time(up{{{chosen}}}[{WINDOW}]))"
    good = f"sum(sum_over_time({good_metric}{{{chosen}}}[{WINDOW}]))"
    samples = (
        Sample(f'up{{job="{job}",{labels}}}', GAUGE, 1, 1),
        Sample(f'{good_metric}{{job="{job}",{labels}}}', GAUGE, 1, 0),
    )
    return Measure(Events(error_query=f"{total} - ({good} or 0 * {total})", total_query=total), samples)


def measure_failures(matcher: str, labels: str, own_routes: list[str]) -> Measure:
    """The share of requests that agents answer with a server error, and of work that fails.

    ``own_routes`` (health, metrics) are nobody's requests.
    """
    base = f'job="agent",{matcher}'
    outside = f'route!~"{quote_value("|".join(own_routes))}"'
    every = f'{{__name__=~"{REQUESTS}|{WORK}",{base},{outside},outcome=~"failed|processed|"}}'
    failed = f'{{__name__=~"{REQUESTS}|{WORK}",{base},{outside},outcome=~"failed|",status=~"5..|"}}'
    known = f"sum(rate({REQUESTS}{{{base}}}[{WINDOW}]))"
    events = Events(
        error_query=f"sum(rate({failed}[{WINDOW}]))",
        # Where nobody has asked anything yet, the agents' own routes show that they are measured.
        total_query=f"sum(rate({every}[{WINDOW}])) or 0 * {known}",
    )
    series = f'{REQUESTS}{{job="agent",{labels},method="POST",route="/work",'
    failures = f'{series}status="500"}}'
    samples = (Sample(f'{series}status="200"}}', COUNTER, 1, 0), Sample(failures, COUNTER, 0, 1))
    return Measure(events, samples, (failures,))


def measure_latency(matcher: str, labels: str, own_routes: list[str], threshold: Decimal) -> Measure:
    """The share of requests and work that take longer than ``threshold`` seconds, a bound of the histogram.

    A histogram without that bound counts as too slow, not as quick.
    """
    base = f'job="agent",{matcher},route!~"{quote_value("|".join(own_routes))}"'
    # Prometheus 3 writes 1.0 where its clients and older ones write 1.
    bound = format(threshold.normalize(), "f")
    pattern = bound.replace(".", "\\.") if "." in bound else f"{bound}(\\.0)?"
    counts = f'{{__name__=~"{DURATION}_count|{WORK_DURATION}_count",{base}}}'
    buckets = f'{{__name__=~"{DURATION}_bucket|{WORK_DURATION}_bucket",{base},le=~"{quote_value(pattern)}"}}'
    known = f'sum(rate({DURATION}_count{{job="agent",{matcher}}}[{WINDOW}]))'
    total = f"(sum(rate({counts}[{WINDOW}])) or 0 * {known})"
    good = f"(sum(rate({buckets}[{WINDOW}])) or 0 * {total})"
    series = f'{{job="agent",{labels},route="/work"'
    slow = f'{DURATION}_bucket{series},le="+Inf"}}'
    samples = (
        Sample(f"{DURATION}_count{series}}}", COUNTER, 1, 1),
        Sample(f'{DURATION}_bucket{series},le="{bound if "." in bound else bound + ".0"}"}}', COUNTER, 1, 0),
        Sample(slow, COUNTER, 1, 1),
    )
    return Measure(Events(error_query=f"{total} - {good}", total_query=total), samples, (slow,))


def measure_commands(service: str) -> Measure:
    """The share of commands that a Redis refuses or that fail, by its own count."""
    chosen = f'job="redis",service="{service}"'
    # One sum for each name: rate() drops names, and two series that differ in it alone would clash.
    failed = f"sum(rate(redis_commands_failed_calls_total{{{chosen}}}[{WINDOW}]))"
    rejected = f"sum(rate(redis_commands_rejected_calls_total{{{chosen}}}[{WINDOW}]))"
    series = f'job="redis",service="{service}",cmd="get"'
    failures = f"redis_commands_failed_calls_total{{{series}}}"
    samples = (
        Sample(f"redis_commands_total{{{series}}}", COUNTER, 1, 1),
        Sample(failures, COUNTER, 0, 1),
    )
    events = Events(
        error_query=f"{failed} + ({rejected} or 0 * {failed})",
        total_query=f"sum(rate(redis_commands_total{{{chosen}}}[{WINDOW}]))",
    )
    return Measure(events, samples, (failures,))
