#!/usr/bin/env python3
"""What watching costs on the hosts of an environment: memory, processor time, series, time of a scrape.

    python benchmarks/watching.py ENV [--json]

Asks the environment's Prometheus, which watches itself and its exporters; nothing is measured in another way.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from groundwork.objectives.prometheus import query_prometheus
from groundwork.problems import ProblemError
from groundwork.site import load_site

OWN = 'job=~"node|redis|postgresql|blackbox|prometheus|alertmanager"'
QUERIES = {
    "memory": f"sum by (host, job) (process_resident_memory_bytes{{{OWN}}})",
    "processor": f"sum by (host, job) (rate(process_cpu_seconds_total{{{OWN}}}[5m]))",
    "series": "sum by (host, job) (scrape_samples_post_metric_relabeling)",
    "scrape": "max by (host, job) (quantile_over_time(0.95, scrape_duration_seconds[5m]))",
}


@dataclass(frozen=True)
class Cost:
    """One job on one host; None where it does not show the figure itself."""

    host: str
    job: str
    memory: float | None
    """Resident bytes."""
    processor: float | None
    """Share of one core over the last five minutes."""
    series: float | None
    scrape: float | None
    """Seconds that 95 % of the scrapes stay within."""


def read_costs(answers: Mapping[str, list[dict[str, Any]]]) -> list[Cost]:
    """Put the answers to ``QUERIES`` together, by host and job."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, vector in answers.items():
        for sample in vector:
            place = (sample["metric"].get("host", ""), sample["metric"].get("job", ""))
            found.setdefault(place, {})[name] = float(sample["value"][1])
    return [
        Cost(host, job, one.get("memory"), one.get("processor"), one.get("series"), one.get("scrape"))
        for (host, job), one in sorted(found.items())
    ]


def main() -> int:
    """Print a table, or with ``--json`` one document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("environment")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        costs = read_costs(query_prometheus(load_site(arguments.environment), QUERIES))
    except ProblemError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps([asdict(cost) for cost in costs], indent=2))
        return 0
    print("| host | job | memory MB | processor % | series | scrape ms |\n|---|---|---|---|---|---|")
    for cost in costs:
        factors = ((cost.memory, 1e-6), (cost.processor, 100.0), (cost.series, 1.0), (cost.scrape, 1e3))
        cells = ["" if value is None else f"{value * factor:.4g}" for value, factor in factors]
        print(f"| {cost.host} | {cost.job} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
