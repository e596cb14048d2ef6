"""One look: plan, verification and baselines put together, with what the last look saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from groundwork.drift.attribution import ask_audit, read_audit
from groundwork.drift.comparing import compare
from groundwork.drift.gathering import gather
from groundwork.drift.items import Drift, DriftReport, Source
from groundwork.drift.snapshot import Snapshot
from groundwork.drift.state import Baseline, DriftState
from groundwork.engine import api
from groundwork.engine.asking import ask_hosts, run_command
from groundwork.engine.checks import SITE
from groundwork.engine.results import OperationStatus
from groundwork.engine.selection import select_hosts
from groundwork.engine.verification import verify
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site

EVERYTHING = (Source.BASELINE, Source.PLAN, Source.VERIFY)
PATHS = ("file", "privileged file", "package's file")
"""Categories whose subjects are paths, which the audit log can tell about."""
LONGEST_DIFF = 40
"""Lines of an operation's difference that a report keeps."""


def look(
    site: Site,
    *,
    limit: Sequence[str] = (),
    sources: Sequence[Source] = EVERYTHING,
    on_step: Callable[[str], None] | None = None,
) -> DriftReport:
    """Compare hosts with the declaration and with their baselines; keep the report. Changes nothing on hosts.

    A host without a baseline gets one: what it is now counts as right, but for what plan and verification find.

    Raises:
        ProblemError: the limit names nobody, or a baseline is damaged.
    """
    started, began = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    say = on_step or (lambda _: None)
    state, hosts = DriftState(site), select_hosts(site, "", limit)
    problems: list[Problem] = []
    drifts: list[Drift] = []
    baselines: dict[str, str] = {}
    if Source.BASELINE in sources:
        say("reading hosts")
        snapshots, unread = gather(site, hosts)
        problems += unread
        for host, snapshot in snapshots.items():
            found, baselines[host] = _compare_host(state, host, snapshot, began)
            drifts += found
    if Source.PLAN in sources:
        say("planning")
        drifts += _plan(site, limit, problems)
    if Source.VERIFY in sources:
        say("verifying")
        drifts += _verify(site, limit, problems)
    seen = state.first_sightings()
    drifts = [_date(drift, seen, began) for drift in drifts]
    drifts = _attribute(site, drifts, baselines)
    last = state.last_report()
    report = DriftReport(
        environment=site.environment,
        time=began,
        drifts=tuple(drifts),
        ended=tuple(_ended(last, drifts, hosts, sources, problems)),
        baselines=baselines,
        sources=tuple(sources),
        hosts=tuple(hosts),
        problems=tuple(problems),
        seconds=round(time.monotonic() - started, 3),
    )
    state.write_report(report)
    looked = {(host, source) for host in (*hosts, SITE) for source in sources}
    others = {key: value for key, value in seen.items() if tuple(key.split("\t")[:2]) not in looked}
    state.write_sightings(report.drifts, others)
    return report


def accept(site: Site, limit: Sequence[str] = ()) -> list[str]:
    """Take the hosts as they are for right; returns their names. Raises ProblemError for each that does not answer."""
    snapshots, problems = gather(site, select_hosts(site, "", limit))
    if problems:
        raise ProblemError(problems)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for host, snapshot in snapshots.items():
        DriftState(site).write_baseline(host, Baseline(time=now, snapshot=snapshot))
    return list(snapshots)


def _compare_host(state: DriftState, host: str, snapshot: Snapshot, now: str) -> tuple[list[Drift], str]:
    baseline = state.read_baseline(host)
    if baseline is None:
        state.write_baseline(host, Baseline(time=now, snapshot=snapshot))
        return [], now
    found = [
        Drift(host=host, source=Source.BASELINE, category=d.category, subject=d.subject, was=d.was, now=d.now)
        for d in sorted(compare(baseline.snapshot, snapshot))
    ]
    return found, baseline.time


def _plan(site: Site, limit: Sequence[str], problems: list[Problem]) -> Iterator[Drift]:
    result = api.plan(site.environment, limit=limit, root=site.root)
    problems += result.problems
    for host in result.hosts:
        if host.failed:
            problems.append(Problem(f"cannot be planned: {host.reason}", key=host.name))
        for operation in host.operations:
            if operation.status is OperationStatus.WOULD_CHANGE:
                lines = operation.diff or tuple(f"$ {command}" for command in operation.commands)
                shown = "\n".join(lines[:LONGEST_DIFF])
                yield Drift(host=host.name, source=Source.PLAN, category="operation", subject=operation.name, now=shown)


def _verify(site: Site, limit: Sequence[str], problems: list[Problem]) -> Iterator[Drift]:
    result = verify(site.environment, limit=limit, root=site.root)
    problems += result.problems
    for check in result.failures:
        yield Drift(host=check.host, source=Source.VERIFY, category=check.role, subject=check.name, now=check.reason)


def _date(drift: Drift, seen: dict[str, tuple[str, str]], now: str) -> Drift:
    """Since when it is so. What has moved on to yet another state keeps the time of the first."""
    first, _ = seen.get(drift.key, (now, ""))
    return drift.model_copy(update={"first_seen": first})


def _attribute(site: Site, drifts: list[Drift], baselines: dict[str, str]) -> list[Drift]:
    """Add what audit logs tell of the paths that differ; a host that does not answer simply tells nothing."""
    asked: dict[str, list[str]] = {}
    for drift in drifts:
        if drift.source is Source.BASELINE and drift.category in PATHS:
            asked.setdefault(drift.host, []).append(drift.subject)
    told: dict[str, dict[str, tuple[str, ...]]] = {}
    hosts = [host for host in site.inventory.hosts if host.name in asked]
    answers, _ = ask_hosts(
        hosts,
        lambda host: run_command(
            host, "sh -s", ask_audit(asked[host.name], datetime.fromisoformat(baselines[host.name]))
        ),
    )
    for host, output in answers.items():
        told[host] = dict(read_audit(output, asked[host]))
    return [
        drift.model_copy(update={"by": told[drift.host][drift.subject]})
        if drift.source is Source.BASELINE and drift.subject in told.get(drift.host, {})
        else drift
        for drift in drifts
    ]


def _ended(
    last: DriftReport | None,
    drifts: list[Drift],
    hosts: Sequence[str],
    sources: Sequence[Source],
    problems: Sequence[Problem],
) -> Iterator[Drift]:
    """What is over; nothing is said of hosts that could not be looked at."""
    if last is None or problems:
        return
    now = {drift.key for drift in drifts}
    for drift in last.drifts:
        if drift.key not in now and drift.host in (*hosts, SITE) and drift.source in sources:
            yield drift
