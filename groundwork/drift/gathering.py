"""Takes snapshots of hosts, and lets their baselines follow an apply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from groundwork.drift.comparing import follow
from groundwork.drift.snapshot import QUESTION_SECONDS, Snapshot, list_questions, read_snapshot
from groundwork.drift.state import Baseline, DriftState
from groundwork.engine.asking import ask_hosts, run_command
from groundwork.engine.selection import select_hosts
from groundwork.inventory import InventoryHost
from groundwork.preflight.questions import build_script, parse_answers
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site


def gather(site: Site, hosts: Sequence[str]) -> tuple[dict[str, Snapshot], list[Problem]]:
    """A snapshot of each host, with one script that only reads; a Problem for each that did not answer."""
    script = build_script(list_questions(), QUESTION_SECONDS)

    def question(host: InventoryHost) -> Snapshot:
        return read_snapshot(parse_answers(run_command(host, "sh -s", script)))

    return ask_hosts([host for host in site.inventory.hosts if host.name in hosts], question)


@contextmanager
def following(site: Site, limit: Sequence[str] = ()) -> Iterator[None]:
    """Let the baselines of the hosts within the limit follow what the code inside does; most have none, at no cost.

    A host that cannot be asked keeps its baseline; the next look then shows what was done as drift.
    """
    state = DriftState(site)
    try:
        known = [host for host in select_hosts(site, "", limit) if state.has_baseline(host)]
    except ProblemError:
        known = []  # The code inside says what is wrong with the limit.
    before, _ = gather(site, known) if known else ({}, [])
    try:
        yield
    finally:
        after, _ = gather(site, list(before)) if before else ({}, [])
        for host, snapshot in after.items():
            baseline = state.read_baseline(host)
            if baseline is not None:
                merged = follow(baseline.snapshot, before[host], snapshot)
                time = datetime.now(UTC).isoformat(timespec="seconds")
                state.write_baseline(host, Baseline(time=time, snapshot=merged))
