"""The measured runs as Markdown, and as a section of a document."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from statistics import median

from benchmarks.fleet.measuring import Measured
from benchmarks.fleet.tools import FLOOR, NAMES, OURS

TITLE = "## Runs of a fleet"
TEXT = """\
```sh
./gw bench
```

One site of 100 operations (20 files, 10 units, 15 templates, 10 users, 15 lines, 10 packages, 10 services, 10 links),
the same for every tool, on lab hosts of the machine that the tool runs on: {machine}, {day}.
`unchanged`: median of {unchanged} on hosts that have everything, Groundwork after a run in which it learns what to ask.
`first`: median of {first} on hosts that have nothing of it but the packages. Each tool reaches the hosts through a TCP
proxy, which counts, and delays where a delay is named, half of it on each way. Round trips: answers that were waited
for by the host with the most of them, login included, making the TCP connection not. Memory: the largest process, no
less than the benchmark's own that starts it.
ansible-core has pipelining and as many forks as hosts; the shell script checks and changes the same by hand over one
connection for each host, all at once. Versions: `benchmarks/fleet/compared.lock`.
{load}
"""
HEADER = (
    "| tool | unchanged s | to ours | controller's CPU s | hosts' CPU s | memory MB | kB | round trips "
    "| first s | to ours | round trips |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def report(runs: Sequence[Measured]) -> str:
    """The section: what was measured, and a table for each number of hosts and each delay."""
    lines = [
        TITLE,
        "",
        TEXT.format(
            machine=describe_machine(),
            day=date.today(),
            unchanged=_times(run for run in runs if run.unchanged),
            first=_times(run for run in runs if not run.unchanged),
            load=_load(runs),
        ),
    ]
    for delay, hosts in sorted({(run.delay, run.hosts) for run in runs}):
        lines += [f"### {hosts} host{'s' if hosts > 1 else ''}, {f'{delay} ms' if delay else 'no'} delay", "", HEADER]
        chosen = [run for run in runs if (run.delay, run.hosts) == (delay, hosts)]
        lines += [_row(name, chosen) for name in NAMES if any(run.tool == name for run in chosen)]
        lines.append("")
    return "\n".join(lines)


def summarize(runs: Sequence[Measured]) -> list[dict[str, object]]:
    """The medians by tool, hosts, delay and kind of run, for programs."""
    kinds = sorted({(run.hosts, run.delay, run.unchanged, NAMES.index(run.tool)) for run in runs})
    found: list[dict[str, object]] = []
    for hosts, delay, unchanged, tool in kinds:
        kind = (hosts, delay, unchanged, NAMES[tool])
        same = [run for run in runs if (run.hosts, run.delay, run.unchanged, run.tool) == kind]
        fields = ("seconds", "processor", "remote", "memory", "bytes", "trips")
        found.append(
            {"tool": NAMES[tool], "hosts": hosts, "delay": delay, "unchanged": unchanged, "runs": len(same)}
            | {field: median(getattr(run, field) for run in same) for field in fields}
        )
    return found


def write_section(document: Path, section: str) -> None:
    """Put the section into a document, in place of an earlier one; everything else stays."""
    text = document.read_text() if document.exists() else ""
    pattern = re.compile(rf"^{TITLE}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    section = section.rstrip("\n") + "\n"
    if pattern.search(text):
        text = pattern.sub(lambda _: section + "\n", text).rstrip("\n") + "\n"
    else:
        text = f"{text.rstrip()}\n\n{section}".lstrip("\n")
    document.write_text(text)


def describe_machine() -> str:
    """Processors, memory, kernel and Python of this machine."""
    memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = f" ({model[1]})" if model else ""
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} processors{name}, {memory} GB, {system}"


def _load(runs: Sequence[Measured]) -> str:
    loads = [run.load for run in runs if run.load]
    if not loads:
        return ""
    return (
        f"Load average before the runs: {min(loads):.0f} to {max(loads):.0f}. What else the machine does takes from all"
        " tools' seconds, and nothing from their processor time."
    )


def _times(runs: Iterable[Measured]) -> str:
    counts: dict[tuple[str, int, int], int] = {}
    for run in runs:
        key = (run.tool, run.hosts, run.delay)
        counts[key] = counts.get(key, 0) + 1
    low, high = min(counts.values(), default=0), max(counts.values(), default=0)
    return f"{low} run{'s' if low != 1 else ''}" if low == high else f"{low} to {high} runs"


def _row(name: str, runs: Sequence[Measured]) -> str:
    cells = [name]
    for unchanged in (True, False):
        same = [run for run in runs if run.tool == name and run.unchanged == unchanged]
        ours = [run.seconds for run in runs if run.tool == OURS and run.unchanged == unchanged]
        if not same:
            cells += [""] * (7 if unchanged else 3)
            continue
        seconds = median(run.seconds for run in same)
        cells += [f"{seconds:.2f}", f"{seconds / median(ours):.1f}" if ours else ""]
        if unchanged:
            cells += [
                f"{median(run.processor for run in same):.2f}",
                f"{median(run.remote for run in same):.2f}",
                f"{median(run.memory for run in same):.0f}" if name != FLOOR else "",
                f"{median(run.bytes for run in same) / 1000:.0f}",
            ]
        cells.append(f"{median(run.trips for run in same):.0f}")
    return f"| {' | '.join(cells)} |"
