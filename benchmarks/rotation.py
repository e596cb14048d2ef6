#!/usr/bin/env python3
"""Certificates of ymera's lab, then its whole authority, are replaced while messages and requests go on.

    python -m benchmarks.rotation --name LAB [--rate 100] [--json FILE]

Two things run meanwhile: messages end to end (benchmarks/ymera.py), and a caller that opens a new connection to each
agent and to Redis over and over, with the certificate and the trust that lie on the host at that moment. Exit status 2
when a message was lost, a request failed, or an endpoint serves something else than what is installed.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.background import BackgroundLoad, run_on
from benchmarks.ymera import HOST, PLATFORM
from groundwork.authority import paths
from groundwork.authority.endpoints import list_tls_endpoints
from groundwork.problems import ProblemError
from groundwork.site import Site, load_site
from groundwork.topology.identities import OPERATOR

ROTATIONS = (("every certificate", "--force"), ("the authority", "--authority"))
UNIT, SCRIPT, RESULT = "groundwork-caller", "/run/groundwork-caller.py", "/run/groundwork-caller.json"
CALLER = """
import json, os, signal, socket, ssl, sys, time
folder, bundle, endpoints, result = json.loads(sys.argv[1])
found = {"calls": 0, "failed": []}
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
while going:
    for name, address, port, question in endpoints:
        try:
            # The folder is a link that is switched: resolved once, so that certificate and key belong together.
            own = os.path.realpath(folder)
            context = ssl.create_default_context(cafile=bundle)
            context.load_cert_chain(own + "/certificate.pem", own + "/key.pem")
            with socket.create_connection((address, port), 10) as plain:
                with context.wrap_socket(plain, server_hostname=address) as stream:
                    stream.sendall(question.encode())
                    answer = stream.recv(200)
            if not answer.startswith((b"HTTP/1.1 200", b"-NOAUTH")):
                raise OSError("answered %r" % answer[:60])
            found["calls"] += 1
        except OSError as error:
            found["failed"].append("%s: %s %s" % (name, type(error).__name__, error))
        time.sleep(0.05)
with open(result, "w") as file:
    json.dump(found, file)
"""


def start_caller(lab: str, site: Site) -> None:
    """Have the agents' host call every agent and Redis from now on."""
    endpoints = []
    for one in list_tls_endpoints(site.platform, site.topology):
        if one.protocol != "tls":
            continue
        question = (
            "PING\r\n" if one.unit.startswith("redis") else f"GET /health HTTP/1.1\r\nHost: {one.address}\r\n\r\n"
        )
        endpoints.append((f"{one.host} {one.unit}", one.address, one.port, question))
    folder = str(Path(paths.certificate(PLATFORM, OPERATOR)).parent)
    task = json.dumps([folder, paths.bundle(PLATFORM), endpoints, RESULT])
    for path, text in ((SCRIPT, CALLER), (f"{SCRIPT}.task", task)):
        run_on(lab, HOST, f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > {path}")
    run_on(lab, HOST, f'rm -f {RESULT}; systemd-run --quiet --unit={UNIT} python3 {SCRIPT} "$(cat {SCRIPT}.task)"')


def finish_caller(lab: str) -> dict[str, Any]:
    """End the caller and return how many calls were answered, and which failed."""
    text = run_on(lab, HOST, f"systemctl stop {UNIT}.service; cat {RESULT}; rm -f {RESULT} {SCRIPT} {SCRIPT}.task")
    found: dict[str, Any] = json.loads(text)
    return found


def rotate(lab: str, option: str) -> list[dict[str, Any]]:
    """Run the rotation as an operator does; return every endpoint with what it serves now.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "groundwork.cli.main", "certs", "rotate", "lab", option, "--json", "--lab", lab]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 2):
        raise RuntimeError(f"certs rotate {option}: exit {done.returncode}\n{done.stdout}{done.stderr[-3000:]}")
    endpoints: list[dict[str, Any]] = json.loads(done.stdout)["endpoints"]
    return endpoints


def try_rotation(lab: str, site: Site, title: str, option: str, rate: float) -> dict[str, Any]:
    """Rotate under load and return all figures. Raises RuntimeError when the load or the rotation failed."""
    start_caller(lab, site)
    try:
        with BackgroundLoad(lab, rate) as load:
            began = time.monotonic()
            endpoints = rotate(lab, option)
            seconds = time.monotonic() - began
            time.sleep(3)
            figures = load.finish()
    finally:
        caller = finish_caller(lab)
    findings = [f"{one['unit']} on {one['host']}: {one['finding']}" for one in endpoints if one["finding"]]
    return {"rotation": title, "rotation_seconds": round(seconds, 1), "endpoints": len(endpoints),
            "findings": findings, "calls": caller["calls"], "calls_failed": caller["failed"], **figures}  # fmt: skip


def is_clean(found: dict[str, Any]) -> bool:
    """Whether nothing was lost, nothing failed, and everything serves what is installed."""
    failed = found["errors"] + found["refused"] + found["failed"] + found["lost"]
    return not failed and not found["calls_failed"] and not found["findings"]


def print_table(results: list[dict[str, Any]]) -> None:
    """Print the figures, a row for each rotation, and what failed."""
    table = Table(title="ymera: rotation under load")
    columns = ("took s", "endpoints", "serve the old", "messages", "lost", "failed", "p95 ms", "no message for s")
    for name in ("replaced", *columns, "calls", "failed calls"):
        table.add_column(name, justify="left" if name == "replaced" else "right")
    for found in results:
        p95 = found["latency_seconds"]["p95"]
        figures = [found["rotation_seconds"], found["endpoints"], len(found["findings"]), found["acknowledged"]]
        figures += [found["lost"], found["errors"] + found["refused"] + found["failed"], f"{1000 * p95:.0f}"]
        figures += [f"{found['longest_gap_seconds']:.1f}", found["calls"], len(found["calls_failed"])]
        table.add_row(found["rotation"], *map(str, figures))
    console = Console(width=150)
    console.print(table)
    for found in results:
        for line in (*found["findings"], *found["calls_failed"][:20]):
            console.print(f"{found['rotation']}: {line}")


def main() -> int:
    """Try both rotations; 0, 1 when one could not be tried, 2 when it was noticed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", default="default", help="name of the lab")
    parser.add_argument("--rate", type=float, default=100.0, help="messages per second")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    try:
        site = load_lab(options.name)
        for title, option in ROTATIONS:
            results.append(try_rotation(options.name, site, title, option, options.rate))
    except (ProblemError, RuntimeError) as error:
        print(f"rotation: {error}", file=sys.stderr)
    if results:
        print_table(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    if len(results) < len(ROTATIONS):
        return 1
    return 0 if all(map(is_clean, results)) else 2


def load_lab(name: str) -> Site:
    """The lab's site. Raises ProblemError."""
    from groundwork.cli.output import choose_lab

    choose_lab(name)
    return load_site("lab")


if __name__ == "__main__":
    sys.exit(main())
