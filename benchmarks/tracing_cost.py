"""What following a request costs its process: without traces, with them, and with nobody taking them.

    .venv/bin/python -m benchmarks.tracing_cost

One request is what an agent does for one: a span that begins with the headers of whoever asked, a span for asking the
next agent, and the headers for that. Processor time is that of the whole process, the thread that sends included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "examples" / "agent_runtime" / "src"
ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HEADERS = {
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "baggage": "groundwork.platform=chorus,groundwork.group=simulation",
}
CASES = ("loop alone", "without", "sent", "nobody")


class Sink(BaseHTTPRequestHandler):
    """Takes everything and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def measure(requests: int, rate: float, bare: bool) -> dict[str, float]:
    """Do so many requests, `rate` of them a second (0: as many as go); microseconds of processor time for each.

    Runs in a process of its own, since what is imported counts. `bare` leaves out what makes the spans.
    """
    sys.path.insert(0, str(SOURCE))
    import agent_runtime.launcher  # noqa: F401  what every process imports
    from agent_runtime.instance import Instance
    from agent_runtime.tracing import conventions, spans
    from agent_runtime.tracing.starting import start_traces

    instance = Instance("chorus", "lab", "prediction", "unit", "app", "127.0.0.1", ())
    traces = start_traces(instance, os.environ)
    longest, began = 0.0, time.process_time()
    started = time.perf_counter()
    for number in range(requests):
        due = started + number / rate if rate else 0.0
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        begun = time.perf_counter()
        if bare:
            longest = max(longest, time.perf_counter() - begun)
            continue
        known = conventions.describe_request("predictor", "identifier", "nats", "agent.predictor.request")
        with spans.span("invoke_agent predictor", "consumer", known, HEADERS):
            asked = conventions.describe_request("planner", "identifier", "nats", "agent.planner.request")
            with spans.span("invoke_agent planner", "client", asked):
                spans.carry()
        longest = max(longest, time.perf_counter() - begun)
    used = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ended = time.perf_counter()
    if traces is not None:
        traces.stop(2.0)
    return {
        "microseconds": 1e6 * used / requests,
        "longest_ms": 1e3 * longest,
        "memory_mb": memory,
        "end_s": time.perf_counter() - ended,
    }


def run_case(case: str, requests: int, rate: float) -> dict[str, float]:
    """Measure one case in a process of its own."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    server = None
    if case == "sent":
        server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environ[ENDPOINT] = f"http://127.0.0.1:{server.server_port}/v1/traces"
    if case == "nobody":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            environ[ENDPOINT] = f"http://127.0.0.1:{free.getsockname()[1]}/v1/traces"
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "benchmarks.tracing_cost", "--measure", str(requests), "--rate", str(rate)]
        command += ["--bare"] if case == "loop alone" else []
        done = subprocess.run(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, check=True)
    if server is not None:
        server.shutdown()
    result: dict[str, float] = json.loads(done.stdout)
    return result


def show(results: dict[str, dict[str, float]]) -> str:
    """The results as a table."""
    lines = ["| traces | µs of processor a request | longest ms | memory MB | end s |", "|---|---|---|---|---|"]
    for case, one in results.items():
        figures = f"{one['microseconds']:.1f} | {one['longest_ms']:.1f} | {one['memory_mb']:.0f} | {one['end_s']:.1f}"
        lines.append(f"| {case} | {figures} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or with `--measure` the figures of one case."""
    parser: Any = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=2000.0, help="requests a second; 0 for as many as go")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measure:
        print(json.dumps(measure(given.measure, given.rate, given.bare)))
        return 0
    print(show({case: run_case(case, given.requests, given.rate) for case in CASES}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
