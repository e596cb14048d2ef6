#!/usr/bin/env python3
"""Messages through platform ymera on lab hosts, and what became of every one that was acknowledged.

    python -m benchmarks.ymera --name LAB [--seconds 20] [--concurrency 32 128] [--rate 100] [--shares] [--json FILE]

Runs the runtime's load client on a host of the communication agents, as their user and with their certificate: queue in
JetStream, communication agent, the recipient's inbox, PostgreSQL. Needs the right to make a consumer at ``inboxes``,
which the lab's manifest gives. Exit status 2 when an acknowledged message was lost.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.accounting import read_processor_seconds, share_out
from groundwork.lab.state import LabState
from groundwork.lab.terminal import capture_command, find_host
from groundwork.problems import ProblemError
from groundwork.topology.accounts import user_name

PLATFORM, GROUP, HOST = "ymera", "communication", "app"
INSTANCE = f"/etc/groundwork/{PLATFORM}/instances/{PLATFORM}-{GROUP}@1.json"
CREDENTIAL = f"redis_{GROUP}:/etc/groundwork/{PLATFORM}/credentials/redis_{GROUP}"
PYTHON = f"/opt/groundwork/{PLATFORM}/current/bin/python"
PERCENTILES = ("p50", "p95", "p99")


@dataclass(frozen=True)
class Run:
    """One load: ``concurrency`` messages under way at once, or as many as ``rate`` per second needs."""

    seconds: float
    concurrency: int
    rate: float | None

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{self.rate:g} a second" if self.rate else f"{self.concurrency} at once"


def make_command(run: Run, size: int, unit_name: str = "") -> str:
    """The command line for the host's root: a unit of its own with the agents' user and credentials."""
    words = [PYTHON, "-m", "agent_runtime.load"]
    words += ["--target", PLATFORM, "--instance", INSTANCE, "--count", "10000000", "--bytes", str(size)]
    words += ["--seconds", str(run.seconds), "--concurrency", str(run.concurrency), "--settle", "60", "--timeout", "30"]
    if run.rate:
        words += ["--rate", str(run.rate)]
    unit = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect"]
    unit += [f"--unit={unit_name}"] if unit_name else []
    unit += ["-p", f"User={user_name(PLATFORM, GROUP)}", "-p", f"LoadCredential={CREDENTIAL}"]
    return shlex.join([*unit, *words])


def measure(lab: str, run: Run, size: int, unit_name: str = "") -> dict[str, Any]:
    """Run one load and return the client's figures; ``unit_name`` lets others stop it.

    Raises ProblemError, and RuntimeError when the client fails.
    """
    state = LabState(lab)
    code, output, errors = capture_command(state, find_host(state, HOST), [make_command(run, size, unit_name)])
    if code not in (0, 2):
        raise RuntimeError(f"the load client ended with {code}: {errors.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(output)
    return found


def format_latency(figures: dict[str, float | None]) -> list[str]:
    """Percentiles in milliseconds."""
    return ["-" if figures[name] is None else f"{1000 * (figures[name] or 0):.0f}" for name in PERCENTILES]


def print_table(results: Sequence[tuple[Run, dict[str, Any]]]) -> None:
    """Print the figures; latencies run from the moment a message is due until PostgreSQL has it."""
    table = Table(title="ymera: messages, end to end")
    columns = ["load", "messages/s", "p50 ms", "p95 ms", "p99 ms", "acknowledged", "in PostgreSQL", "in inbox", "lost"]
    for name in (*columns, "twice", "refused", "errors"):
        table.add_column(name, justify="left" if name == "load" else "right")
    for run, found in results:
        counts = ("acknowledged", "recorded", "arrived", "lost", "arrived_twice", "refused", "errors")
        figures = [str(found[name]) for name in counts]
        table.add_row(run.title, str(found["rate"]), *format_latency(found["latency_seconds"]), *figures)
    Console(width=150).print(table)


def print_shares(results: Sequence[tuple[Run, dict[str, Any]]]) -> None:
    """Print what each unit, and the client itself, used of the processors for each message."""
    table = Table(title="ymera: processor time for each message")
    for name in ("load", "unit", "µs"):
        table.add_column(name, justify="right" if name == "µs" else "left")
    for run, found in results:
        shares = [("the load client", 1e6 * found["processor_seconds"] / max(1, found["acknowledged"]))]
        for unit, share in [*shares, *found["shares"]]:
            table.add_row(run.title, unit, f"{share:.0f}")
    Console(width=120).print(table)


def measure_shares(lab: str, run: Run, size: int) -> dict[str, Any]:
    """As ``measure``, with what each unit used meanwhile."""
    before = read_processor_seconds(lab)
    found = measure(lab, run, size)
    return {**found, "shares": share_out(before, read_processor_seconds(lab), max(1, found["acknowledged"]))}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", default="default", help="name of the lab")
    parser.add_argument("--seconds", type=float, default=20.0, help="of sending, for each run")
    parser.add_argument(
        "--concurrency", type=int, nargs="*", default=[32, 128], help="messages at once, a run for each"
    )
    parser.add_argument("--rate", type=float, nargs="*", default=[100.0], help="messages per second, a run for each")
    parser.add_argument("--bytes", type=int, default=200, help="size of a message's text")
    parser.add_argument("--shares", action="store_true", help="also the processor time of each unit, for each message")
    parser.add_argument("--json", type=Path, help="file for the client's figures")
    return parser.parse_args()


def main() -> int:
    """Run every load in turn; 0, 1 when one could not run, 2 when an acknowledged message was lost."""
    options = parse_arguments()
    runs = [Run(options.seconds, count, None) for count in options.concurrency]
    runs += [Run(options.seconds, max(options.concurrency, default=128), rate) for rate in options.rate]
    results: list[tuple[Run, dict[str, Any]]] = []
    try:
        for run in runs:
            results.append((run, (measure_shares if options.shares else measure)(options.name, run, options.bytes)))
    except (ProblemError, RuntimeError) as error:
        print(f"ymera: {error}", file=sys.stderr)
    if results:
        print_table(results)
    if results and options.shares:
        print_shares(results)
    if options.json:
        options.json.write_text(json.dumps([{**asdict(run), **found} for run, found in results], indent=2) + "\n")
    if len(results) < len(runs):
        return 1
    return 2 if any(found["lost"] for _, found in results) else 0


if __name__ == "__main__":
    sys.exit(main())
