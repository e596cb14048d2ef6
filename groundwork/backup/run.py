"""Makes, lists and checks sets on all hosts of an environment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from groundwork.backup import archiving, carrying, hosts, layout
from groundwork.backup.reports import BackupReport, Checked, KeptSet, Run, as_plain
from groundwork.engine.asking import ask_hosts
from groundwork.inventory import InventoryHost
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology import backups
from groundwork.topology.backups import Job

Say = Callable[[str], None]


def choose_jobs(site: Site, items: Sequence[str] = (), kinds: Iterable[str] = ()) -> list[Job]:
    """The jobs of these items (all where none is named) and kinds.

    Raises ProblemError for names that the policy does not have, or has and this version does not do.
    """
    policy = site.platform.backup
    if policy is None:
        allowed = "declare a backup section in the manifest (docs/backup.md)"
        raise ProblemError([Problem("the platform declares no backups", key="backup", allowed=allowed)])
    left_out = backups.list_left_out(site.platform)
    problems = []
    for name in items:
        key = f"backup.items.{name}"
        if name not in policy.items:
            problems.append(Problem("no such item", key=key, given=name, allowed=", ".join(policy.items)))
        elif key in left_out:
            problems.append(Problem(left_out[key], key=key, given=policy.items[name].what))
    if problems:
        raise ProblemError(problems)
    wanted = set(kinds)
    jobs = [job for job in backups.list_jobs(site.platform, site.topology) if not items or job.item in items]
    return [job for job in jobs if not wanted or job.kind in wanted]


def make_sets(site: Site, items: Sequence[str], say: Say) -> BackupReport:
    """Make a set of every job now, hosts side by side, one job of a host after the other."""
    started = time.monotonic()
    jobs = choose_jobs(site, items)

    def question(host: InventoryHost) -> list[Run]:
        return [_make(site, job, say) for job in jobs if job.host == host.name]

    found, problems = ask_hosts(hosts.hosts_of(site, [job.host for job in jobs]), question)
    runs = [run for results in found.values() for run in results]
    runs += archiving.make_runs(site, items, say)
    return _report(site, "now", started, problems, runs=runs)


def _make(site: Site, job: Job, say: Say) -> Run:
    say(f"{job.item} on {job.host}")
    try:
        if job.kind in backups.CARRIED:
            carrying.carry(site, job)
        result = hosts.start_job(site, job)
    except ProblemError as error:
        return Run(item=job.item, kind=job.kind, host=job.host, error=str(error))
    return Run(
        item=job.item, kind=job.kind, host=job.host, set=result.get("set", ""), repositories=result.get("places", {}),
        skipped=result.get("skipped", ""), error=result.get("error", ""), seconds=result.get("seconds", 0.0),
    )  # fmt: skip


def _readers(site: Site, jobs: Sequence[Job]) -> list[tuple[str, list[str], list[str]]]:
    """Host, settings and further words for every repository: its own host reads it, a job its own folder."""
    platform = site.platform.platform
    items = list(dict.fromkeys(job.item for job in jobs))
    found: list[tuple[str, list[str], list[str]]] = []
    for one in backups.list_repositories(site.platform, site.inventory):
        if one.host:
            found.append((one.host, [layout.kept_settings(platform, one.name, item) for item in items], []))
            continue
        for job in jobs:
            found.append((job.host, [layout.job_settings(platform, job.item)], ["--place", one.name]))
    return found


def _ask(site: Site, jobs: Sequence[Job], verb: str, more: Sequence[str]) -> tuple[list[dict[str, Any]], list[Problem]]:
    readers = _readers(site, jobs)

    def question(host: InventoryHost) -> list[dict[str, Any]]:
        answers = []
        for name, settings, words in readers:
            if name == host.name:
                answers += hosts.call(site, name, [verb, *settings, *words, *more])
        return answers

    found, problems = ask_hosts(hosts.hosts_of(site, [name for name, _, _ in readers]), question)
    answers = [answer for results in found.values() for answer in results]
    problems += [Problem(str(one["error"]), key=str(one.get("item", ""))) for one in answers if "error" in one]
    return [one for one in answers if "error" not in one], problems


def list_sets(site: Site, items: Sequence[str]) -> BackupReport:
    """Every set of every repository."""
    started = time.monotonic()
    answers, problems = _ask(site, choose_jobs(site, items), "list", ())
    sets = []
    for answer in answers:
        for place, found in answer["places"].items():
            if "error" in found:
                problems.append(Problem(found["error"], key=f"{answer['item']} in {place}"))
            sets += [
                KeptSet(item=answer["item"], kind=answer["kind"], repository=place, **one) for one in found["sets"]
            ]
    sets += archiving.list_kept(site, items, problems)
    return _report(site, "list", started, problems, sets=sets)


def check_sets(site: Site, items: Sequence[str], every_set: bool, say: Say) -> BackupReport:
    """Read everything back: each repository's every byte, signatures, the objects of the newest sets, and ages."""
    started = time.monotonic()
    jobs = choose_jobs(site, items)
    say("reading repositories back")
    answers, problems = _ask(site, jobs, "check", ["--every-set"] if every_set else [])
    checks = [
        Checked(item=answer["item"], kind=answer["kind"], repository=place, **found)
        for answer in answers
        for place, found in answer["places"].items()
    ]
    checks += _check_carried(site, jobs, problems)
    checks += archiving.check_kept(site, items, problems)
    return _report(site, "check", started, problems, checks=checks)


def repair(site: Site, items: Sequence[str]) -> BackupReport:
    """Take damaged files out of the repositories that lie on hosts, so that the next backup saves them anew."""
    started = time.monotonic()
    answers, problems = _ask(site, choose_jobs(site, items), "repair", ())
    repaired = {
        f"{answer['item']} in {place}": found["moved"]
        for answer in answers
        for place, found in answer["places"].items()
    }
    return _report(site, "repair", started, problems, repaired=repaired)


def _check_carried(site: Site, jobs: Sequence[Job], problems: list[Problem]) -> list[Checked]:
    carried = [job for job in jobs if job.kind in backups.CARRIED]

    def question(host: InventoryHost) -> list[Checked]:
        found = []
        for job in carried:
            if job.host == host.name and (told := carrying.find_newer(site, job)):
                found.append(Checked(item=job.item, kind=job.kind, repository="controller", findings=[told]))
        return found

    found, unasked = ask_hosts(hosts.hosts_of(site, [job.host for job in carried]), question)
    problems += [one for one in unasked if one.key not in {other.key for other in problems}]
    return [one for results in found.values() for one in results]


def _report(site: Site, verb: str, started: float, problems: list[Problem], **parts: Any) -> BackupReport:
    return BackupReport(
        environment=site.environment,
        verb=verb,
        left_out=backups.list_left_out(site.platform),
        problems=as_plain(problems),
        seconds=round(time.monotonic() - started, 1),
        **parts,
    )
