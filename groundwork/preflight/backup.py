"""Room for the backups, and how old the last ones are. Rehearsals come with the command that makes them."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator

from groundwork.backup import layout
from groundwork.manifest.backup import BackupRepository
from groundwork.preflight.findings import SITE, Finding, Severity, judge, skip
from groundwork.preflight.machine import parse_space
from groundwork.preflight.questions import Answers
from groundwork.scheduled.tasks import find_command
from groundwork.site import Site
from groundwork.topology import backups

DATA = ("/var/lib/postgresql", "/var/lib/redis", "/var/lib/groundwork")
LEAST = 1024**3
"""Bytes that a repository has free at least, however small the data are."""


def check_site(site: Site) -> Iterator[Finding]:
    """Whether data are declared to be backed up."""
    policy = site.platform.backup
    stateful = sorted({node.service for node in site.topology.nodes})
    covered = {item.service for item in policy.items.values()} if policy else set()
    bare = [name for name in stateful if name not in covered]
    evidence = f"not backed up: {', '.join(bare)}" if bare else "every service with data has a backup item"
    yield judge("backup.declared", SITE, not bare, evidence, "declare it below backup.items", Severity.WARNING)
    if policy is None:
        return
    if find_command("rehearse") is None:
        yield skip("backup.rehearsal", SITE, "this version rehearses no recovery yet")


def ask(site: Site, host: str) -> dict[str, str]:
    """Size of the host's data, the room below each repository that lies on it, and when its jobs last went well."""
    questions = {"backup_data": f"du -sxB1 {' '.join(DATA)} 2>/dev/null | cut -f1"}
    for number, repository in enumerate(_on(site, host)):
        # The folder may not exist yet: the nearest one above it does.
        path = shlex.quote(repository.path)
        walk = f'path={path}; while ! test -d "$path"; do path=$(dirname "$path"); done; df -P -B1 "$path" | tail -n 1'
        questions[f"backup_room_{number}"] = walk
    for number, job in enumerate(backups.jobs_on(site.platform, site.topology, host)):
        folder = f"{layout.state_folder(site.platform.platform)}/{job.item}"
        # Nothing where the role was not applied yet.
        questions[f"backup_set_up_{number}"] = f"test -f {layout.job_settings(site.platform.platform, job.item)}"
        questions[f"backup_figures_{number}"] = f"cat {folder}/figures.json"
    return questions


def check_host(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """Room for two copies of the data, since a full backup is made beside the one before; and no job that is late."""
    yield from _check_age(site, host, answers)
    data = sum(int(line) for line in answers.lines("backup_data") if line.isdigit())
    wanted = max(2 * data, LEAST)
    for number, repository in enumerate(_on(site, host)):
        for _, free in parse_space(answers.lines(f"backup_room_{number}")).values():
            evidence = f"{repository.path}: {free >> 20} MiB free; two copies of this host's data take {data >> 19} MiB"
            yield judge("backup.room", host, free >= wanted, evidence, f"keep {wanted >> 20} MiB free there")


def _check_age(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """Every job of the host went well within the time that its schedule gives, in every repository."""
    remedy = f"groundwork backup {site.environment} --now; journalctl -u 'groundwork-*-backup-*' on the host says why"
    for number, job in enumerate(backups.jobs_on(site.platform, site.topology, host)):
        if not answers.ok(f"backup_set_up_{number}"):
            yield skip("backup.last", host, f"{job.item}: the role backup was not applied here yet")
            continue
        try:
            figures: dict[str, dict[str, float]] = json.loads(answers.text(f"backup_figures_{number}") or "{}")
        except ValueError:
            figures = {}
        for one in job.repositories:
            found = figures.get(one.name, {})
            last = found.get("last_success_timestamp_seconds")
            age = time.time() - last if last else 0.0
            told = f"{age / 3600:.1f} h old" if last else "there is none"
            good = last is not None and age <= found.get("maximum_age_seconds", 0.0) and not found.get("failed")
            failed = ", and the last run failed" if found.get("failed") else ""
            evidence = f"{job.item} in {one.name}: last backup {told}{failed}"
            yield judge("backup.last", host, good, evidence, remedy, Severity.WARNING)


def _on(site: Site, host: str) -> list[BackupRepository]:
    policy = site.platform.backup
    if policy is None:
        return []
    groups = site.inventory.host(host).groups
    everything = [policy.repository, *policy.copies]
    return [one for one in everything if one.kind == "host" and one.hosts in groups]
