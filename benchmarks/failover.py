#!/usr/bin/env python3
"""What becomes of ymera's messages when one of its services is killed: how long none comes through, and what is lost.

    python -m benchmarks.failover --name LAB [--rate 100] [--json FILE]

Each service gets SIGKILL once, with all its processes, while messages are sent; systemd starts it again. Exit status 2
when an acknowledged message was lost.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.background import BackgroundLoad, run_on
from groundwork.problems import ProblemError

BEFORE_SECONDS, AFTER_SECONDS, PATIENCE_SECONDS = 5.0, 8.0, 120.0


@dataclass(frozen=True)
class Fault:
    """One service, the host that runs it and its unit there (a pattern, where the version is part of the name)."""

    title: str
    host: str
    unit: str


FAULTS = (
    Fault("PgBouncer", "data", "pgbouncer.service"),
    Fault("PostgreSQL", "data", "postgresql@*.service"),
    Fault("NATS", "data", "ymera-nats-1.service"),
    Fault("Redis", "data", "redis-server@ymera-redis-1.service"),
    Fault("one of three agents", "app", "ymera-communication@1.service"),
)


def read_state(lab: str, fault: Fault) -> tuple[str, str]:
    """The unit's main process and its state, as systemd has them."""
    shown = run_on(lab, fault.host, f"systemctl show --property=MainPID,ActiveState '{fault.unit}'")
    state = dict(line.partition("=")[::2] for line in shown.splitlines())
    return state["MainPID"], state["ActiveState"]


def try_fault(lab: str, fault: Fault, rate: float) -> dict[str, Any]:
    """Kill a service under load and return the load client's figures, with the time until its unit was up again.

    Raises:
        RuntimeError: the load failed, or the unit did not come back within two minutes.
    """
    with BackgroundLoad(lab, rate) as load:
        time.sleep(BEFORE_SECONDS)
        before, _ = read_state(lab, fault)
        killed = time.monotonic()
        run_on(lab, fault.host, f"systemctl kill --signal=KILL '{fault.unit}'")
        while True:
            process, state = read_state(lab, fault)
            if state == "active" and process not in (before, "0"):
                break
            if time.monotonic() > killed + PATIENCE_SECONDS:
                raise RuntimeError(f"{fault.unit} has not come back")
            time.sleep(0.1)
        restarted = time.monotonic() - killed
        time.sleep(AFTER_SECONDS)
        return {"fault": fault.title, "restarted_seconds": round(restarted, 1), **load.finish()}


def print_table(results: list[dict[str, Any]]) -> None:
    """Print the figures, a row for each fault."""
    table = Table(title="ymera: a service is killed under load")
    columns = ("acknowledged", "lost", "not acknowledged", "set aside", "twice")
    for name in ("killed", "up again s", "no message for s", *columns):
        table.add_column(name, justify="left" if name == "killed" else "right")
    for found in results:
        refused = found["errors"] + found["refused"]
        figures = (found["acknowledged"], found["lost"], refused, found["failed"], found["arrived_twice"])
        table.add_row(
            found["fault"], f"{found['restarted_seconds']}", f"{found['longest_gap_seconds']:.1f}", *map(str, figures)
        )
    Console(width=120).print(table)


def main() -> int:
    """Try each fault in turn; 0, 1 when one could not be tried, 2 when an acknowledged message was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", default="default", help="name of the lab")
    parser.add_argument("--rate", type=float, default=100.0, help="messages per second")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    try:
        for fault in FAULTS:
            results.append(try_fault(options.name, fault, options.rate))
    except (ProblemError, RuntimeError) as error:
        print(f"failover: {error}", file=sys.stderr)
    if results:
        print_table(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    if len(results) < len(FAULTS):
        return 1
    return 2 if any(found["lost"] for found in results) else 0


if __name__ == "__main__":
    sys.exit(main())
