"""Room for the backups. Their age and that of the last rehearsal come with the commands that make them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from groundwork.manifest.backup import BackupRepository
from groundwork.preflight.findings import SITE, Finding, Severity, judge, skip
from groundwork.preflight.machine import parse_space
from groundwork.preflight.questions import Answers
from groundwork.scheduled.tasks import TASKS, find_command
from groundwork.site import Site

DATA = ("/var/lib/postgresql", "/var/lib/redis", "/var/lib/groundwork")
LEAST = 1024**3
"""Bytes that a repository has free at least, however small the data are."""


def check_site(site: Site) -> Iterator[Finding]:
    """Whether data are declared to be backed up, and that nothing here makes the backups yet."""
    policy = site.platform.backup
    stateful = sorted({node.service for node in site.topology.nodes})
    covered = {item.service for item in policy.items.values()} if policy else set()
    bare = [name for name in stateful if name not in covered]
    evidence = f"not backed up: {', '.join(bare)}" if bare else "every service with data has a backup item"
    yield judge("backup.declared", SITE, not bare, evidence, "declare it below backup.items", Severity.WARNING)
    if policy is None:
        return
    for check, task in (("backup.last", "backup_check"), ("backup.rehearsal", "rehearse")):
        if find_command(task) is None:
            yield skip(check, SITE, f"this version has no command groundwork {' '.join(TASKS[task].words)} yet")


def ask(site: Site, host: str) -> dict[str, str]:
    """Size of the host's data, and the room below each repository that lies on it."""
    questions = {"backup_data": f"du -sxB1 {' '.join(DATA)} 2>/dev/null | cut -f1"}
    for number, repository in enumerate(_on(site, host)):
        # The folder may not exist yet: the nearest one above it does.
        path = shlex.quote(repository.path)
        walk = f'path={path}; while ! test -d "$path"; do path=$(dirname "$path"); done; df -P -B1 "$path" | tail -n 1'
        questions[f"backup_room_{number}"] = walk
    return questions


def check_host(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """Room for two copies of the data: a full backup is made beside the one before."""
    data = sum(int(line) for line in answers.lines("backup_data") if line.isdigit())
    wanted = max(2 * data, LEAST)
    for number, repository in enumerate(_on(site, host)):
        for _, free in parse_space(answers.lines(f"backup_room_{number}")).values():
            evidence = f"{repository.path}: {free >> 20} MiB free; two copies of this host's data take {data >> 19} MiB"
            yield judge("backup.room", host, free >= wanted, evidence, f"keep {wanted >> 20} MiB free there")


def _on(site: Site, host: str) -> list[BackupRepository]:
    policy = site.platform.backup
    if policy is None:
        return []
    groups = site.inventory.host(host).groups
    everything = [policy.repository, *policy.copies]
    return [one for one in everything if one.kind == "host" and one.hosts in groups]
