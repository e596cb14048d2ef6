"""What the role asks hosts: the database's release, versions and disk; what a repository has."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from pyinfra.api import FactBase
from typing_extensions import override


@dataclass(frozen=True)
class Database:
    """The host of a database."""

    release: str = ""
    """Debian's major version."""
    existing: tuple[int, ...] = ()
    """Major versions that have data."""
    disk: int = 0
    """Bytes of the disk that PostgreSQL's data lie on."""


class DatabaseHost(FactBase[Database]):
    """Release, versions with data, and disk."""

    default = Database

    @override
    def command(self) -> str:
        return (
            '. /etc/os-release; echo "release $VERSION_ID"; '
            "for f in /var/lib/postgresql/*/main/PG_VERSION; do test ! -e $f || echo version $(cat $f); done; "
            "echo disk $(df -B1 --output=size $(ls -d /var/lib/postgresql 2>/dev/null || echo /var/lib) | tail -n 1)"
        )

    @override
    def process(self, output: list[str]) -> Database:
        words = [line.split() for line in output]
        values = [(pair[0], pair[1]) for pair in words if len(pair) == 2]
        return Database(
            next((value.partition(".")[0] for key, value in values if key == "release"), ""),
            tuple(sorted(int(value) for key, value in values if key == "version" and value.isdigit())),
            next((int(value) for key, value in values if key == "disk" and value.isdigit()), 0),
        )


class SystemIdentifier(FactBase[str]):
    """Identifier that PostgreSQL gave its cluster; empty where there is none."""

    default = str

    @override
    def command(self, version: int) -> str:
        call = f"/usr/lib/postgresql/{version}/bin/pg_controldata /var/lib/postgresql/{version}/main"
        return f"LC_ALL=C {call} 2>/dev/null | sed -n 's/^Database system identifier: *//p' || true"

    @override
    def process(self, output: list[str]) -> str:
        return output[0].strip()


@dataclass(frozen=True)
class Kept:
    """What a repository has of an archive."""

    exists: bool = False
    system: str = ""
    version: str = ""
    backups: int = 0


class Stanza(FactBase[Kept]):
    """What pgBackRest's ``info`` says of a stanza; nothing where program, settings or stanza are missing."""

    default = Kept

    @override
    def command(self, configuration: str, stanza: str, account: str) -> str:
        call = f"runuser -u {shlex.quote(account)} -- pgbackrest --config={shlex.quote(configuration)}"
        return f"( cd / && {call} --stanza={shlex.quote(stanza)} --output=json info ) 2>/dev/null || true"

    @override
    def process(self, output: list[str]) -> Kept:
        try:
            found = json.loads("\n".join(output))[0]
        except (ValueError, IndexError):
            return Kept()
        current = max(found["db"], key=lambda one: one["id"], default=None)
        if current is None or found["status"]["code"] not in (0, 2):
            return Kept()
        return Kept(True, str(current["system-id"]), str(current["version"]), len(found["backup"]))
