#!/usr/bin/env python3
"""What watching costs on the hosts of an environment: memory, processor time, series, time of a scrape.

    python benchmarks/watching.py ENV [--seconds N] [--json]

Asks the environment's Prometheus, which watches itself and its exporters, for series and scrapes; and each host for
what its units that watch take: all processes of a unit, processor time over N seconds (60), memory as the kernel shares
it out (proportional set size).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from groundwork.engine.asking import ask_hosts, run_command
from groundwork.objectives.prometheus import query_prometheus
from groundwork.problems import ProblemError
from groundwork.site import Site, load_site

OWN = 'job=~"node|redis|postgresql|blackbox|services|prometheus|alertmanager"'
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


# Prints unit, proportional set size in bytes and processor seconds so far, one unit a line; needs root.
READER = """
import os, subprocess, sys
ticks = os.sysconf("SC_CLK_TCK")
listed = subprocess.run(["systemctl", "list-units", "--plain", "--no-legend", "--type=service", *sys.argv[1:]],
    capture_output=True, text=True, check=True).stdout
for unit in (line.split()[0] for line in listed.splitlines()):
    shown = subprocess.run(["systemctl", "show", "-p", "ControlGroup", "--value", unit], capture_output=True, text=True)
    memory = seconds = 0
    try:
        pids = open("/sys/fs/cgroup%s/cgroup.procs" % shown.stdout.strip()).read().split()
    except OSError:
        continue
    for pid in pids:
        rollup = open("/proc/%s/smaps_rollup" % pid).read()
        memory += int(rollup.split("Pss:")[1].split()[0]) * 1024
        fields = open("/proc/%s/stat" % pid).read().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / ticks
    print(unit, memory, seconds)
"""
UNITS = ("-*exporter*", "-prometheus*", "-alertmanager*", "-journal-upload*", "-journal-store*")
"""How the names of units that watch go on behind the platform's."""


@dataclass(frozen=True)
class UnitCost:
    """What one unit takes on one host."""

    host: str
    unit: str
    memory: float
    """Bytes."""
    processor: float
    """Share of one core."""


def measure_units(site: Site, seconds: float) -> list[UnitCost]:
    """Read every unit that watches twice. Raises ProblemError for hosts that cannot be asked."""
    patterns = " ".join(shlex.quote(f"{site.platform.platform}{pattern}") for pattern in UNITS)
    command = f"python3 -c {shlex.quote(READER)} {patterns}"
    looks: list[dict[str, dict[str, tuple[float, float]]]] = []
    started = time.monotonic()
    for wait in (seconds, 0.0):
        answers, problems = ask_hosts(site.inventory.hosts, lambda host: run_command(host, command))
        if problems:
            raise ProblemError(problems)
        looks.append({host: read_units(text) for host, text in answers.items()})
        passed = time.monotonic() - started
        time.sleep(wait)
    return [
        UnitCost(host, unit, memory, (used - looks[0][host][unit][1]) / passed)
        for host, units in sorted(looks[1].items())
        for unit, (memory, used) in sorted(units.items())
        if unit in looks[0].get(host, {})
    ]


def read_units(text: str) -> dict[str, tuple[float, float]]:
    """Memory and processor seconds of each unit, from what READER printed."""
    rows = (line.split() for line in text.splitlines())
    return {unit: (float(memory), float(used)) for unit, memory, used in rows}


def main() -> int:
    """Print a table, or with ``--json`` one document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("environment")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        site = load_site(arguments.environment)
        costs = read_costs(query_prometheus(site, QUERIES))
        units = measure_units(site, arguments.seconds)
    except ProblemError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"jobs": [asdict(one) for one in costs], "units": [asdict(one) for one in units]}, indent=2))
        return 0
    print("| host | job | memory MB | processor % | series | scrape ms |\n|---|---|---|---|---|---|")
    for cost in costs:
        factors = ((cost.memory, 1e-6), (cost.processor, 100.0), (cost.series, 1.0), (cost.scrape, 1e3))
        cells = ["" if value is None else f"{value * factor:.4g}" for value, factor in factors]
        print(f"| {cost.host} | {cost.job} | {' | '.join(cells)} |")
    print("\n| host | unit | memory MB | processor % |\n|---|---|---|---|")
    for unit in units:
        print(f"| {unit.host} | {unit.unit} | {unit.memory * 1e-6:.1f} | {unit.processor * 100:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
