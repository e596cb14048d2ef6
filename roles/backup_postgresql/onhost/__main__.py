"""``python3 -m <package> SETTINGS VERB``: what systemd and the controller ask of a host with an archive."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from . import backing, checking, choosing, restoring
from .calls import CallError, as_account, read_stanza
from .server import ServerError
from .settings import Settings, read_settings

PUBLISHED = Path("/var/lib/groundwork/metrics")
ROOTS_OWN = ("publish", "describe", "restore", "resume", "finish", "state")
"""Verbs that are not carried out as the archive's account."""


def main(words: list[str]) -> int:
    """Carry out one verb. 0: done and well, 2: done, with findings, 1: not done."""
    parser = argparse.ArgumentParser(description="backups of PostgreSQL with pgBackRest")
    parser.add_argument("settings", type=Path)
    verbs = parser.add_subparsers(dest="verb", required=True)
    backup = verbs.add_parser("backup", help="make a backup")
    backup.add_argument("type", choices=("full", "diff"))
    backup.add_argument("--forced", action="store_true", help="a differential one even right after a full one")
    for name in ("check", "list", "publish", "state", "resume", "finish"):
        verbs.add_parser(name)
    for name in ("describe", "restore"):
        verbs.add_parser(name).add_argument("--at", type=read_moment, help="a moment with its zone")
    given = parser.parse_args(words)
    try:
        settings = read_settings(given.settings)
        if os.geteuid() == 0 and given.verb not in ROOTS_OWN:
            done = subprocess.run(as_account(settings, [*_self(), *words]), check=False, cwd="/")
            publish(settings)
            return done.returncode
        return _carry_out(settings, given)
    except (CallError, ServerError, choosing.RestoreError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _self() -> list[str]:
    package = __package__ or ""
    library = str(Path(__file__).resolve().parent.parent)
    return ["env", f"PYTHONPATH={library}", "/usr/bin/python3", "-B", "-m", package]


def _carry_out(settings: Settings, given: argparse.Namespace) -> int:
    def answer(document: object) -> None:
        print(json.dumps(document, sort_keys=True), flush=True)

    match given.verb:
        case "backup":
            answer(backing.make_backup(settings, given.type, given.forced))
        case "list":
            answer([asdict(one) for one in read_stanza(settings).backups])
        case "check":
            found = checking.check(settings)
            answer(found)
            return 2 if found["problems"] else 0
        case "publish":
            publish(settings)
        case "describe":
            answer(restoring.describe(settings, given.at))
        case "state":
            state = restoring.read_state(settings)
            answer({**asdict(state), "complete": state.is_complete} if state else None)
        case "restore":
            answer(asdict(restoring.restore(settings, given.at, _say)))
        case "finish":
            answer(asdict(restoring.finish(settings)))
        case _:
            answer(asdict(restoring.resume(settings, _say)))
    return 0


def read_moment(text: str) -> float:
    """Seconds since 1970 of a moment with its zone. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment needs a zone: 2026-11-20T03:15:00Z")
    return moment.timestamp()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def publish(settings: Settings) -> None:
    """Copy the account's figures to where the exporter looks, as root: no link of the account's is followed as root."""
    if not settings.metrics:
        return
    read = subprocess.run(
        as_account(settings, ["cat", "--", settings.metrics]), capture_output=True, text=True, check=False, cwd="/"
    )
    if read.returncode == 0:
        PUBLISHED.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = PUBLISHED / f"{settings.platform}-pgbackrest-{settings.service}.prom"
        new = path.with_name(f"{path.name}.new")
        new.write_text(read.stdout, "utf-8")
        new.chmod(0o644)
        new.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
