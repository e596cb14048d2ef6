"""What ``postgresql`` asks a host. The catalogue is read as the operating system's user ``postgres`` by its socket."""

from __future__ import annotations

import json
import shlex
from typing import Any

from pyinfra.api import FactBase
from typing_extensions import override

from roles.postgresql.catalog import QUESTIONS
from roles.postgresql.sizing import Resources

PSQL = "psql -X -q -A -t -v ON_ERROR_STOP=1"


def build_psql(database: str, port: int, arguments: str = "") -> str:
    """A shell command that runs SQL from its standard input as the superuser, over the local socket.

    ``PGOPTIONS`` keeps session settings of a role or database from getting between.
    """
    connection = f"host=/var/run/postgresql port={port} user=postgres dbname={_quote_value(database)}"
    options = "env PGCONNECT_TIMEOUT=10 PGOPTIONS='-c statement_timeout=0 -c search_path=pg_catalog'"
    return f"cd / && {options} runuser -u postgres -- {PSQL} {arguments} -d {shlex.quote(connection)}"


def _quote_value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class HostResources(FactBase[Resources]):
    """Memory, cores and the size of the disk below /var/lib; zeros where the host does not say."""

    @override
    @staticmethod
    def default() -> Resources:
        return Resources(0, 0)

    @override
    def command(self) -> str:
        return (
            "grep -s '^MemTotal:' /proc/meminfo || echo MemTotal: 0; nproc || echo 0; "
            "df -B1 --output=size /var/lib | tail -n 1"
        )

    @override
    def process(self, output: list[str]) -> Resources:
        # "MemTotal:       24683840 kB", where kB means KiB (proc_meminfo(5)).
        return Resources(int(output[0].split()[1]) * 1024, int(output[1]), int(output[2]))


class Release(FactBase[str]):
    """Debian's major version, an empty text where it is no Debian."""

    default = str

    @override
    def command(self) -> str:
        return '. /etc/os-release && test "$ID" = debian && echo "$VERSION_ID" || true'

    @override
    def process(self, output: list[str]) -> str:
        return output[0].strip()


class OfferedVersions(FactBase[list[int]]):
    """Major versions of PostgreSQL that apt's lists have; empty on a host that has fetched none."""

    default = list

    @override
    def command(self) -> str:
        return "apt-cache --names-only search '^postgresql-[0-9]+$' 2>/dev/null || true"

    @override
    def process(self, output: list[str]) -> list[int]:
        return sorted(int(line.split()[0].removeprefix("postgresql-")) for line in output if line.strip())


class ExistingVersions(FactBase[list[int]]):
    """Major versions whose data lies on the host."""

    default = list

    @override
    def command(self) -> str:
        return "cat /var/lib/postgresql/*/main/PG_VERSION 2>/dev/null || true"

    @override
    def process(self, output: list[str]) -> list[int]:
        return sorted(int(line) for line in output if line.strip().isdigit())


class PathExists(FactBase[bool]):
    """Whether there is something at a path."""

    default = bool

    @override
    def command(self, path: str) -> str:
        return f"test -e {shlex.quote(path)} && echo yes || echo no"

    @override
    def process(self, output: list[str]) -> bool:
        return output[0].strip() == "yes"


class Answer(FactBase[Any]):
    """The JSON document that a question of ``catalog`` gives, None where no server answers or the database is missing.

    The query goes over standard input (a here-document), so that no process list shows it.
    """

    @override
    def command(self, question: str, port: int, database: str = "postgres") -> str:
        known = f"SELECT 1 FROM pg_database WHERE datname = {_sql_text(database)}"
        probe = f"test \"$({build_psql('postgres', port)} 2>/dev/null <<'GROUNDWORK'\n{known};\nGROUNDWORK\n)\" = 1"
        ask = f"{build_psql(database, port)} <<'GROUNDWORK'\n{QUESTIONS[question]};\nGROUNDWORK\n"
        return f"if {probe}; then {ask}else echo null; fi"

    @override
    def process(self, output: list[str]) -> Any:
        return json.loads("\n".join(output))


def _sql_text(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


class Checksums(FactBase[str]):
    """Version of the data checksums of a cluster (``0`` for none), empty where there is no cluster."""

    default = str

    @override
    def command(self, data: str, programs: str) -> str:
        call = f"LC_ALL=C {shlex.quote(programs)}/pg_controldata {shlex.quote(data)} 2>/dev/null"
        return f"{call} | sed -n 's/^Data page checksum version: *//p' || true"

    @override
    def process(self, output: list[str]) -> str:
        return output[0].strip()


class Streaming(FactBase[bool]):
    """Whether a replica receives its primary's log right now."""

    default = bool

    @override
    def command(self, port: int) -> str:
        query = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        return f"( {build_psql('postgres', port)} ) 2>/dev/null <<'GROUNDWORK' || echo 0\n{query};\nGROUNDWORK\n"

    @override
    def process(self, output: list[str]) -> bool:
        return output[0].strip() == "1"
