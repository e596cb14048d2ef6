"""PostgreSQL's archives as the controller uses them: back up now, list, check, restore in place with the replicas."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from groundwork.engine.asking import run_command
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from groundwork.topology.archives import Archive

PATIENCE = 24 * 3600.0
"""Seconds that a backup, a check or a restore may be silent."""
SHORT = 300.0


@dataclass(frozen=True)
class Answer:
    """What the program on a host answered."""

    status: int
    """0: well, 2: with findings, 1: not done."""
    document: Any
    said: str
    """What it said besides, an error's line last."""


def helpers(site: Site, name: str) -> str:
    """Path of a program of ours on the hosts."""
    return f"/usr/local/lib/groundwork/{site.platform.platform}/{name}"


def ask(site: Site, host: str, archive: Archive, *words: str, silence: float = SHORT) -> Answer:
    """Have a host's ``pgbackrest-admin`` carry out one verb.

    Raises ProblemError when the host has no such program, UnreachableError when it does not answer.
    """
    program = helpers(site, "pgbackrest-admin")
    call = shlex.join([program, archive.service, *words])
    # The document comes on standard output, whatever the exit status says.
    missing = "no archive is set up on this host: groundwork apply"
    script = (
        f"test -x {shlex.quote(program)} || {{ echo {shlex.quote(missing)} >&2; exit 1; }}; "
        f'said=$(mktemp); {call} 2>"$said"; printf "\\n%s\\n" "$?"; cat "$said"; rm -f "$said"'
    )
    text = run_command(site.inventory.host(host), script, silence=silence)
    lines = text.splitlines()
    place = next((n for n, line in enumerate(lines) if line.strip().isdigit()), None)
    if place is None:
        raise ProblemError([Problem("pgbackrest-admin did not come to an answer", key=host)])
    body = "\n".join(lines[:place]).strip()
    return Answer(int(lines[place]), json.loads(body) if body else None, "\n".join(lines[place + 1 :]).strip())


def _require(answer: Answer, host: str) -> dict[str, Any]:
    if answer.status or not isinstance(answer.document, dict):
        last = answer.said.splitlines()[-1] if answer.said else f"ended with {answer.status}"
        raise ProblemError([Problem(last, key=host)])
    return answer.document


def make_backup(site: Site, archive: Archive, kind: str = "diff") -> dict[str, Any]:
    """Make a backup now (``full`` or ``diff``) by the unit that makes those on time; return what it is.

    Raises ProblemError when it fails; the backups before it stay.
    """
    host, unit = archive.host, f"{archive.platform}-pgbackrest-{archive.service}@{kind}.service"
    before = list_backups(site, archive)
    tail = f"journalctl --quiet --no-pager --output=cat --unit={unit} --lines=3"
    command = f"systemctl start -- {unit} || {{ {tail} >&2; exit 1; }}"
    run_command(site.inventory.host(host), command, silence=PATIENCE)
    after = list_backups(site, archive)
    newest: dict[str, Any] = after[-1]
    return {**newest, "made": newest not in before}


def list_backups(site: Site, archive: Archive) -> list[dict[str, Any]]:
    """The backups of an archive, the oldest first. Raises ProblemError when they cannot be listed."""
    answer = ask(site, archive.host, archive, "list")
    if answer.status:
        raise ProblemError([Problem(answer.said or "pgBackRest does not answer", key=archive.host)])
    found: list[dict[str, Any]] = answer.document
    return found


def check(site: Site, archive: Archive) -> dict[str, Any]:
    """Read everything of an archive back: ``problems``, ``notes``, ``objects`` and ``backups``; not done raises."""
    answer = ask(site, archive.host, archive, "check", silence=PATIENCE)
    if answer.status not in (0, 2):
        raise ProblemError([Problem(answer.said or "the check failed", key=archive.host)])
    last = ask(site, archive.database.host, archive, "state").document
    found: dict[str, Any] = answer.document
    if last and not last["complete"]:
        found["problems"].append(f"a restore stands at {last['step']}: resume it, or begin another one")
    return found


def describe_loss(site: Site, archive: Archive, moment: datetime | None) -> list[str]:
    """What a restore in place would replace, in lines for people. Raises ProblemError where nothing can be restored."""
    host = archive.database.host
    words = ["describe", *(["--at", moment.isoformat()] if moment else [])]
    found = _require(ask(site, host, archive, *words), host)
    until = f"to {moment.isoformat()}" if moment else "to the last archived segment of its log"
    lines = [f"{archive.service} on {host} goes back {until}: what was written later is lost, in every database"]
    lines += [f"database {name}: {size >> 20} MiB are replaced" for name, size in sorted(found["databases"].items())]
    if not found["running"]:
        lines.append(f"PostgreSQL does not run: what lies in {found['data']} and is not archived is lost")
    if archive_pool(site, archive):
        lines.append("clients are turned away meanwhile: PgBouncer is stopped first and started last")
    replicas = list_replicas(site, archive)
    return [*lines, *(f"the replica on {name} is copied anew" for name in replicas)]


def archive_pool(site: Site, archive: Archive) -> bool:
    """Whether a PgBouncer stands in front of the database."""
    return bool(getattr(site.platform.services[archive.service], "pgbouncer", None))


def list_replicas(site: Site, archive: Archive) -> list[str]:
    """Hosts of the database's replicas."""
    return sorted(n.host for n in site.topology.nodes if n.service == archive.service and n.role == "replica")


def restore(site: Site, archive: Archive, moment: datetime | None) -> dict[str, Any]:
    """Put a database back to a moment (None: everything that is archived) on its own host, then copy its replicas anew.

    Returns the state: seconds of each step, and what was reached. Raises ProblemError when it does not come to its end;
    what has been done stays noted on the host, ``resume`` goes on from there, and ``check`` tells of it meanwhile.
    """
    words = ["restore", *(["--at", moment.isoformat()] if moment else [])]
    host = archive.database.host
    return _settle(site, archive, _require(ask(site, host, archive, *words, silence=PATIENCE), host))


def resume(site: Site, archive: Archive) -> dict[str, Any]:
    """Go on with a restore that did not come to its end. Raises as ``restore`` does."""
    host = archive.database.host
    return _settle(site, archive, _require(ask(site, host, archive, "resume", silence=PATIENCE), host))


def _settle(site: Site, archive: Archive, state: dict[str, Any]) -> dict[str, Any]:
    replicas = list_replicas(site, archive)
    for name in replicas:
        command = f"{shlex.quote(helpers(site, 'postgresql-follow'))} anew"
        run_command(site.inventory.host(name), command, silence=PATIENCE)
    if not replicas:
        return state
    host = archive.database.host
    return _require(ask(site, host, archive, "finish"), host)
