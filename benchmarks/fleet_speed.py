#!/usr/bin/env python3
"""How long 100 operations take on many hosts: ansible-core, Mitogen, pyinfra, Groundwork, and a shell script.

    python -m benchmarks.fleet_speed [--hosts 1 10] [--delay 0 20] [--repeat 3] [--write docs/benchmarks-speed.md]

Brings up as many lab hosts as needed, runs the same site with each tool in turn, first on hosts that have nothing of
it, then unchanged, and takes the hosts down again. Needs what ``./gw lab up`` needs, and a package index for what is
compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import docker

from benchmarks.fleet import contents
from benchmarks.fleet.tools import Target, Tool, make_environment, make_tools
from groundwork.lab.boot import USER
from groundwork.lab.hosts import find_container
from groundwork.lab.lifecycle import boot_lab, remove_lab
from groundwork.lab.phases import Phases
from groundwork.lab.plan import WantedHost
from groundwork.lab.state import LabState, checkout_root

PROXY = Path(__file__).parent / "fleet" / "delaying_proxy.py"
LAB = "bench-fleet"


@dataclass(frozen=True)
class Measured:
    """One run of one tool."""

    tool: str
    hosts: int
    delay: int
    unchanged: bool
    seconds: float
    processor: float
    """Seconds of processor time on the controller."""
    remote: float
    """Seconds of processor time on all hosts together, 0 where the machine does not count it."""
    memory: int
    """Largest resident set of one process on the controller, in MB."""
    bytes: int
    trips: int
    """Answers that were waited for on the host with the most of them."""


def main() -> int:
    """Measure and print, or write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--delay", type=int, nargs="+", default=[0, 20], help="milliseconds there and back")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tools", nargs="+", help="only these")
    parser.add_argument("--environment", type=Path, help="where the compared tools are, or are to be installed")
    parser.add_argument("--keep", action="store_true", help="leave the hosts up")
    parser.add_argument("--write", type=Path, help="file for the results")
    given = parser.parse_args()
    assert contents.count_operations() == 100
    with tempfile.TemporaryDirectory(prefix="groundwork-bench-") as folder:
        environment = given.environment or Path(folder) / "environment"
        if not (environment / "bin/ansible-playbook").exists():
            make_environment(environment)
        hosts = {f"h{number}": WantedHost(("bench",)) for number in range(max(given.hosts))}
        boot_lab(LAB, "chorus", None, Phases(lambda text: print(text, file=sys.stderr)), hosts=hosts)
        try:
            measured = list(_measure(given, Path(folder), environment))
        finally:
            if not given.keep:
                remove_lab(LAB)
    text = report(measured, given.repeat)
    print(text)
    if given.write:
        given.write.write_text(text)
    return 0


def _measure(given: argparse.Namespace, folder: Path, environment: Path) -> Iterator[Measured]:
    state = LabState(LAB)
    spec = state.read_spec()
    assert spec is not None
    for count in given.hosts:
        chosen = spec.hosts[:count]
        for delay in given.delay:
            with _proxy(delay, [f"{host.address}:22" for host in chosen]) as (ports, ask):
                targets = [
                    Target(host.name, port, USER, str(state.key_file), str(_known_hosts(folder, state, ports)))
                    for host, port in zip(chosen, ports, strict=True)
                ]
                tools = make_tools(folder / f"{count}-{delay}", environment, targets)
                tools = [tool for tool in tools if not given.tools or tool.name in given.tools]
                names = [host.name for host in chosen]
                for tool in tools:
                    _on_all(names, contents.RESET)
                    yield _run(tool, names, delay, False, ask)
                # One run of each that is not counted: caches, and what ours remembers.
                for tool in tools:
                    _run(tool, names, delay, True, ask)
                for tool in tools:
                    runs = [_run(tool, names, delay, True, ask) for _ in range(given.repeat)]
                    yield sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def _known_hosts(folder: Path, state: LabState, ports: list[int]) -> Path:
    """The lab's host keys under the proxy's ports."""
    path = folder / "known_hosts"
    keys = [line.split(" ", 1) for line in state.known_hosts_file.read_text().splitlines()]
    spec = state.read_spec()
    assert spec is not None
    by_address = {names.split(",")[0]: key for names, key in keys}
    pairs = zip(ports, spec.hosts, strict=False)
    path.write_text("".join(f"[127.0.0.1]:{port} {by_address[host.address]}\n" for port, host in pairs))
    return path


@contextmanager
def _proxy(delay: int, targets: list[str]) -> Iterator[tuple[list[int], subprocess.Popen[str]]]:
    command = [sys.executable, str(PROXY), str(delay), *targets]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()), process
    finally:
        process.kill()
        process.wait()


def _passed(proxy: subprocess.Popen[str]) -> dict[str, int]:
    assert proxy.stdin is not None
    assert proxy.stdout is not None
    proxy.stdin.write("\n")
    proxy.stdin.flush()
    return dict(json.loads(proxy.stdout.readline()))


def _run(tool: Tool, names: Sequence[str], delay: int, unchanged: bool, proxy: subprocess.Popen[str]) -> Measured:
    _passed(proxy)
    before = _remote_processor(names)
    with tempfile.TemporaryFile("w+") as printed:
        started = time.monotonic()
        process = subprocess.Popen(
            tool.command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env={**os.environ, **tool.environ},
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        printed.seek(0)
        text = printed.read()
    assert status == 0, f"{tool.name}: {text[-3000:]}"
    changed = tool.changed(text)
    assert (changed == 0) == unchanged, f"{tool.name} changed {changed}: {text[-3000:]}"
    passed = _passed(proxy)
    print(f"{tool.name}, {len(names)} hosts, {delay} ms, {changed} changed: {seconds:.2f} s", file=sys.stderr)
    return Measured(
        tool.name,
        len(names),
        delay,
        unchanged,
        seconds,
        usage.ru_utime + usage.ru_stime,
        _remote_processor(names) - before,
        usage.ru_maxrss // 1024,
        passed["bytes"],
        passed["trips"],
    )


def _on_all(names: Sequence[str], script: str) -> None:
    client = docker.from_env()
    for name in names:
        container = find_container(client, checkout_root(), LAB, name)
        assert container is not None
        done = container.exec_run(["sh", "-c", script])
        assert done.exit_code == 0, done.output


def _remote_processor(names: Sequence[str]) -> float:
    client = docker.from_env()
    total = 0
    for name in names:
        container = find_container(client, checkout_root(), LAB, name)
        assert container is not None
        assert container.id is not None
        stats = client.api.stats(container.id, stream=False, one_shot=True)
        total += stats["cpu_stats"]["cpu_usage"].get("total_usage", 0)
    return total / 1e9


def report(measured: Sequence[Measured], repeat: int) -> str:
    """The results as Markdown."""
    lines = [
        "# Speed of a fleet's runs",
        "",
        "Made by `benchmarks/fleet_speed.py`. One site of 100 operations (30 files, 15 templates, 10 users, 15",
        "lines, 10 packages, 10 services, 10 links), the same for every tool, on lab hosts of the machine that the",
        f"tool runs on ({os.cpu_count()} cores, {_memory()} GB, {platform.machine()}, {date.today()}). Unchanged: the",
        f"median of {repeat} runs after one that is not counted. First: one run on hosts that have nothing of it;",
        "packages are there already. Round trips: answers waited for by the host with the most of them, its login",
        "among them and the TCP connection not. Memory: the largest process.",
        "",
    ]
    for delay in sorted({one.delay for one in measured}):
        for count in sorted({one.hosts for one in measured}):
            rows = [one for one in measured if (one.delay, one.hosts) == (delay, count)]
            ours = {one.unchanged: one.seconds for one in rows if one.tool == "Groundwork"}
            if not rows:
                continue
            lines += [
                f"## {count} host{'s' if count > 1 else ''}, {delay} ms there and back",
                "",
                "| | unchanged (s) | times ours | controller CPU (s) | hosts' CPU (s) | memory (MB) | kB | round trips"
                " | first (s) | times ours |",
                "|---|---|---|---|---|---|---|---|---|---|",
            ]
            for tool in dict.fromkeys(one.tool for one in rows):
                same = next(one for one in rows if one.tool == tool and one.unchanged)
                first = next(one for one in rows if one.tool == tool and not one.unchanged)
                lines.append(
                    f"| {tool} | {same.seconds:.2f} | {same.seconds / ours.get(True, 1):.1f} | {same.processor:.2f} "
                    f"| {same.remote:.2f} | {same.memory} | {same.bytes // 1000} | {same.trips} "
                    f"| {first.seconds:.2f} | {first.seconds / ours.get(False, 1):.1f} |"
                )
            lines.append("")
    return "\n".join(lines)


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


if __name__ == "__main__":
    sys.exit(main())
