#!/usr/bin/env python3
"""How long 100 operations take on many hosts: ansible-core, Mitogen, pyinfra, Groundwork, and a shell script.

    python -m benchmarks.fleet_speed [--hosts 1 10] [--delay 0 20] [--repeat 3] [--results FILE] [--write DOCUMENT]

Brings up as many lab hosts as needed, runs the same site with each tool in turn, on hosts that have nothing of it and
unchanged, and takes the hosts down again. Needs what ``./gw lab up`` needs, and a package index for what is compared.
With --results it can be stopped (or stops by itself, --minutes) and goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import docker

from benchmarks.fleet import contents
from benchmarks.fleet.measuring import Measured, Proxy, Results, run_tool, start_proxy
from benchmarks.fleet.report import report, summarize, write_section
from benchmarks.fleet.tools import NAMES, Target, Tool, floor_script, make_environment, make_tools
from groundwork.lab.boot import USER
from groundwork.lab.hosts import find_container
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.plan import WantedHost
from groundwork.lab.state import LabState, checkout_root

LAB = "bench-fleet"
# Hosts that are prepared side by side.
AT_ONCE = 4


class OutOfTimeError(Exception):
    """The time that was given is over; what was measured is written down."""


def main() -> int:
    """Measure and print, or write down. Exit code 3: the time was over before all was measured."""
    given = _parse()
    assert contents.count_operations() == 100
    results = Results(given.results)
    deadline = time.monotonic() + given.minutes * 60 if given.minutes else None
    done = True
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as scratch:
        environment = given.environment or checkout_root() / ".cache" / "bench-environment"
        if given.hosts:
            make_environment(environment)
        for count in given.hosts:
            lab = f"{LAB}-{count}"
            hosts = {f"h{number}": WantedHost(("bench",)) for number in range(count)}
            boot_lab(lab, "chorus", None, Phases(lambda text: print(text, file=sys.stderr)), hosts=hosts)
            try:
                for delay in given.delay:
                    _measure(given, results, deadline, Path(scratch) / f"{count}-{delay}", environment, lab, delay)
            except OutOfTimeError:
                done = False
                break
            finally:
                if not given.keep:
                    remove_lab(lab)
    if given.json:
        print(json.dumps({"complete": done, "results": summarize(results.runs)}, indent=2))
    else:
        print(report(results.runs))
    if given.write:
        write_section(given.write, report(results.runs))
    return 0 if done else 3


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="*", default=[1, 10], help="without a number: only report --results")
    parser.add_argument("--delay", type=int, nargs="+", default=[0, 20], help="milliseconds there and back")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--first", type=int, default=1, help="runs on hosts that have nothing of it, likewise")
    parser.add_argument("--tools", nargs="+", choices=NAMES, default=list(NAMES), help="only these")
    parser.add_argument("--environment", type=Path, help="where the compared tools are, or are to be installed")
    parser.add_argument("--results", type=Path, help="file of the runs; those in it are not repeated")
    parser.add_argument("--minutes", type=float, help="begin no run after this time")
    parser.add_argument("--keep", action="store_true", help="leave the hosts up")
    parser.add_argument("--json", action="store_true", help="print medians as JSON")
    parser.add_argument("--write", type=Path, help="document whose section is replaced")
    return parser.parse_args()


def _measure(
    given: argparse.Namespace,
    results: Results,
    deadline: float | None,
    folder: Path,
    environment: Path,
    lab: str,
    delay: int,
) -> None:
    state = LabState(lab)
    spec = state.read_spec()
    assert spec is not None
    names = [host.name for host in spec.hosts]
    with start_proxy(delay, [f"{host.address}:22" for host in spec.hosts]) as proxy:
        folder.mkdir()
        known_hosts = _known_hosts(folder, state, proxy)
        targets = [
            Target(host.name, port, USER, str(state.key_file), str(known_hosts))
            for host, port in zip(spec.hosts, proxy.ports, strict=True)
        ]
        tools = [tool for tool in make_tools(folder, environment, targets) if tool.name in given.tools]

        def run(tool: Tool, unchanged: bool) -> Measured:
            if deadline is not None and time.monotonic() > deadline:
                raise OutOfTimeError
            remote = partial(_remote_processor, lab, names)
            return run_tool(tool, folder, len(names), delay, unchanged, proxy, remote)

        def missing(tool: Tool, unchanged: bool) -> int:
            wanted: int = given.repeat if unchanged else given.first
            return wanted - results.count(tool.name, len(names), delay, unchanged)

        if any(missing(tool, kind) > 0 for tool in tools if tool.needs_python for kind in (True, False)):
            _on_all(lab, names, contents.PREPARE)
        for _ in range(given.first):
            for tool in tools:
                if missing(tool, False) > 0:
                    _on_all(lab, names, contents.RESET)
                    tool.forget()
                    results.add(run(tool, False))
        tools = [tool for tool in tools if missing(tool, True) > 0]
        if tools:
            _on_all(lab, names, contents.RESET + floor_script())
        for tool in tools:
            if tool.memory is not None:
                run(tool, True)
        for _ in range(given.repeat):
            for tool in tools:
                if missing(tool, True) > 0:
                    results.add(run(tool, True))


def _known_hosts(folder: Path, state: LabState, proxy: Proxy) -> Path:
    """The lab's host keys under the proxy's ports."""
    path = folder / "known_hosts"
    keys = [line.split(" ", 1) for line in state.known_hosts_file.read_text().splitlines()]
    spec = state.read_spec()
    assert spec is not None
    by_address = {names.split(",")[0]: key for names, key in keys}
    pairs = zip(proxy.ports, spec.hosts, strict=True)
    path.write_text("".join(f"[127.0.0.1]:{port} {by_address[host.address]}\n" for port, host in pairs))
    return path


def _on_all(lab: str, names: Sequence[str], script: str) -> None:
    client = docker.from_env()

    def run(name: str) -> None:
        container = find_container(client, checkout_root(), lab, name)
        assert container is not None
        done = container.exec_run(["sh", "-c", script])
        assert done.exit_code == 0, done.output

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, names))


def _remote_processor(lab: str, names: Sequence[str]) -> float:
    client = docker.from_env()
    total = 0
    for name in names:
        container = find_container(client, checkout_root(), lab, name)
        assert container is not None
        assert container.id is not None
        stats = client.api.stats(container.id, stream=False, one_shot=True)
        total += stats["cpu_stats"]["cpu_usage"].get("total_usage", 0)
    return total / 1e9


if __name__ == "__main__":
    sys.exit(main())
