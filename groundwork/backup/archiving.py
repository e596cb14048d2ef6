"""PostgreSQL's archives in the words of sets and restores: what ``groundwork backup`` and ``restore`` say of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from groundwork.backup import postgresql
from groundwork.backup.reports import Checked, KeptSet, Run
from groundwork.engine.inspection import UnreachableError
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.archives import Archive, list_archives
from groundwork.topology.backups import MAIN, Job

KIND = "postgresql"
FORM = "%Y%m%dT%H%M%SZ"
_FAILURES = (OSError, UnreachableError, ProblemError)


def choose(site: Site, items: Sequence[str]) -> list[Archive]:
    """The archives of these items; all where none is named."""
    return [one for one in list_archives(site.platform, site.topology) if not items or one.item in items]


def choose_parts(site: Site, only: Sequence[str]) -> list[Archive]:
    """The archives behind the words of ``--only``."""
    return choose(site, ()) if KIND in only else []


def _name(backup: dict[str, Any]) -> str:
    """A backup's name among sets: its moment, and pgBackRest's label."""
    return f"{datetime.fromtimestamp(backup['started'], UTC).strftime(FORM)}-{backup['label']}"


def _problem(archive: Archive, error: Exception) -> Problem:
    told = str(error.problems[0].message) if isinstance(error, ProblemError) else str(error)
    return Problem(told, key=f"{archive.item} on {archive.host}")


def make_runs(site: Site, items: Sequence[str], say: Callable[[str], None]) -> list[Run]:
    """Make a differential backup of each archive now (a full one where there is none)."""
    return [_make(site, one, say) for one in choose(site, items)]


def _make(site: Site, archive: Archive, say: Callable[[str], None]) -> Run:
    say(f"{archive.item} on {archive.host}")
    began = time.monotonic()
    try:
        made = postgresql.make_backup(site, archive)
    except _FAILURES as error:
        return Run(item=archive.item, kind=KIND, host=archive.database.host, error=_problem(archive, error).message)
    seconds = round(time.monotonic() - began, 1)
    return Run(
        item=archive.item,
        kind=KIND,
        host=archive.database.host,
        set=_name(made),
        repositories={MAIN: {"bytes": made["size"], "seconds": seconds, "label": made["label"]}},
        seconds=seconds,
    )


def list_kept(site: Site, items: Sequence[str], problems: list[Problem]) -> list[KeptSet]:
    """Every backup of every archive; what cannot be listed is added to the problems."""
    found: list[KeptSet] = []
    for archive in choose(site, items):
        try:
            backups = postgresql.list_backups(site, archive)
        except _FAILURES as error:
            problems.append(_problem(archive, error))
            continue
        host = archive.database.host
        found += [
            KeptSet(
                item=archive.item, kind=KIND, repository=MAIN, set=_name(one), host=host, bytes=one["size"], objects=0
            )
            for one in backups
        ]
    return found


def check_kept(site: Site, items: Sequence[str], problems: list[Problem]) -> list[Checked]:
    """Read every archive back; what cannot be asked is added to the problems."""
    checks: list[Checked] = []
    for archive in choose(site, items):
        began = time.monotonic()
        try:
            found = postgresql.check(site, archive)
            backups = postgresql.list_backups(site, archive)
        except _FAILURES as error:
            problems.append(_problem(archive, error))
            continue
        newest = max((one["finished"] for one in backups), default=None)
        age = {archive.database.host: {"age": time.time() - newest, "notes": found["notes"]}} if newest else {}
        checks.append(
            Checked(
                item=archive.item,
                kind=KIND,
                repository=MAIN,
                sets=len(backups),
                objects=found["objects"],
                bytes=sum(one["stored"] for one in backups if one["kind"] == "full"),
                newest=age,
                findings=found["problems"],
                seconds=round(time.monotonic() - began, 1),
            )
        )
    return checks


def list_as_jobs(archives: Sequence[Archive]) -> list[Job]:
    """The archives as jobs, for what only asks which service lies on which host."""
    return [
        Job(
            item=one.item,
            kind=KIND,
            host=one.database.host,
            schedule=one.schedule,
            full_schedule=one.full_schedule,
            retention=one.retention,
            repositories=(),
            service=one.service,
            nodes=(one.database,),
        )
        for one in archives
    ]


def describe_losses(
    site: Site, archives: Sequence[Archive], at: str
) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """What restoring each archive would replace, by item and host; and why one cannot be restored to that moment."""
    moment = datetime.fromisoformat(at) if at else None
    found: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for one in archives:
        try:
            lines = postgresql.describe_loss(site, one, moment)
        except _FAILURES as error:
            problems.append(_problem(one, error))
        else:
            name = at or "everything that is archived"
            found[f"{one.item} on {one.database.host}"] = {"set": name, "repository": MAIN, "loss": "; ".join(lines)}
    return found, problems


def recover(site: Site, archive: Archive, at: str, begun: str) -> dict[str, Any]:
    """Put one PostgreSQL back, or go on with what was begun since ``begun``. Raises ProblemError, UnreachableError."""
    state = postgresql.ask(site, archive.database.host, archive, "state").document
    since = datetime.fromisoformat(begun).timestamp()
    if state and state["began"] >= since:
        # An attempt of this restore: it may even have come to its end before it could be noted here.
        return dict(state) if state["complete"] else postgresql.resume(site, archive)
    return postgresql.restore(site, archive, datetime.fromisoformat(at) if at else None)
