"""Operations of ``postgresql``: SQL goes over standard input, and only where the catalogue differs from the plan."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from groundwork.operations.placement import ScriptInput
from groundwork.operations.refusals import refusing
from roles.postgresql import grants
from roles.postgresql.access import owner_of
from roles.postgresql.facts import Answer, Checksums, PathExists, Streaming, build_psql
from roles.postgresql.migrations import COMPLETE, Migration, build_script, choose_pending
from roles.postgresql.partitions import plan_partitions
from roles.postgresql.quoting import quote_name, quote_text
from roles.postgresql.server import CLUSTER, Server
from roles.postgresql.statements import (
    EMPTY,
    build_removal,
    check_owners,
    list_surplus,
    plan_databases,
    plan_roles,
)


def run_statements(
    database: str, port: int, statements: Sequence[str], one_transaction: bool = True
) -> Generator[PyinfraCommand, None, None]:
    """Yield the command that runs SQL in a database as the superuser; nothing for no statements."""
    if not statements:
        host.noop(f"database {database} is as declared")
        return
    if state.config.DIFF:
        for statement in statements:
            host.log(f"Will run in {database}: {statement.partition(chr(10))[0]}", logger.info)
    lines = [f"{statement}\n;" for statement in statements]
    text = "\n".join(["BEGIN;", *lines, "COMMIT;"] if one_transaction else lines) + "\n"
    command = f"base64 -d | ( {build_psql(database, port, '-o /dev/null')} )"
    yield StringCommand(command, _stdin=ScriptInput(text.encode()))  # type: ignore[arg-type]


@operation()
def cluster(server: Server) -> Generator[PyinfraCommand, None, None]:
    """
    Make the cluster with data checksums where there is none, and turn them on where there is one without.

    + server: the host's server
    """
    data = server.data_folder
    if not host.get_fact(PathExists, path=f"{server.folder}/postgresql.conf"):
        # What an interrupted run left was never started, so that nothing of anybody's is in it.
        yield StringCommand(
            f"{{ test -e {data}/postmaster.opts || rm -rf -- {data}; }} && "
            f"pg_createcluster --port {server.node.port} --locale C.UTF-8 {server.version} {CLUSTER}"
            " -- --data-checksums"
        )
    elif host.get_fact(Checksums, data=data, programs=server.programs) == "0" and server.is_primary:
        yield StringCommand(
            f"systemctl stop {server.unit} && cd / && "
            f"runuser -u postgres -- {server.programs}/pg_checksums --enable --pgdata={data}"
        )
    else:
        host.noop(f"cluster {server.version}/{CLUSTER} is there")


@operation()
def restart_pending(server: Server) -> Generator[PyinfraCommand, None, None]:
    """
    Restart the server if settings were changed that it reads at its start only.

    + server: the host's server
    """
    pending = host.get_fact(Answer, question="pending restart", port=server.node.port)
    if pending:
        host.log(f"Restarting for {', '.join(pending)}", logger.info)
        yield StringCommand("systemctl restart --", QuoteString(server.unit))
    else:
        host.noop("no setting waits for a restart")


@operation()
def roles(server: Server) -> Generator[PyinfraCommand, None, None]:
    """
    Make the owners and one role for each agent group, and take from them what is not declared.

    + server: the host's server
    """
    found = host.get_fact(Answer, question="cluster", port=server.node.port) or EMPTY
    with refusing():
        check_owners(server.service, server.declared, found)
    yield from run_statements("postgres", server.node.port, plan_roles(server, found))


@operation()
def databases(server: Server) -> Generator[PyinfraCommand, None, None]:
    """
    Make the databases, and say who may connect to them.

    + server: the host's server
    """
    found = host.get_fact(Answer, question="cluster", port=server.node.port) or EMPTY
    statements = plan_databases(server, found)
    yield from run_statements("postgres", server.node.port, statements, one_transaction=False)


@operation()
def database_rights(server: Server, database: str) -> Generator[PyinfraCommand, None, None]:
    """
    Give one database its extensions, its bookkeeping and exactly the declared rights.

    + server: the host's server
    + database: its name
    """
    found = host.get_fact(Answer, question="database", port=server.node.port, database=database)
    with refusing():
        statements = grants.plan_database(server, database, found or grants.EMPTY)
    yield from run_statements(database, server.node.port, statements)


@operation()
def migrations(server: Server, database: str, files: Sequence[Migration]) -> Generator[PyinfraCommand, None, None]:
    """
    Run the SQL files that a database has not had yet, in order, under a lock, each in its own transaction.

    + server: the host's server
    + database: its name
    + files: all its migrations

    A failing one changes nothing; the error names file, line and statement.
    """
    applied = host.get_fact(Answer, question="applied", port=server.node.port, database=database) or []
    with refusing():
        pending = choose_pending(files, applied)
    if not pending:
        host.noop(f"database {database} has had its {len(files)} migrations")
        return
    if state.config.DIFF:
        for migration in pending:
            host.log(f"Will run {migration.path} in {database}", logger.info)
    script = build_script(pending, owner_of(server.declared, database))
    psql = build_psql(database, server.node.port, "-b -o /dev/null")
    command = "\n".join(
        [
            "set -u",
            "script=$(base64 -d)",
            # A connection that broke off must not end a statement early.
            f"case $script in *{shlex.quote(COMPLETE)}) ;; *) echo 'the script arrived cut short' >&2; exit 1;; esac",
            f"notes=$(printf '%s\\n' \"$script\" | ( {psql} ) 2>&1) && exit 0",
            "printf '%s\\n' \"$notes\" | sed 's/^psql:<stdin>:[0-9]*: //' "
            '| awk \'/^groundwork-at /{text = ""; sub(/^groundwork-at /, "")} {text = text $0 "\\n"} '
            'END{printf "%s", text}\' >&2',
            "exit 1",
        ]
    )
    yield StringCommand(command, _stdin=ScriptInput(script.encode()))  # type: ignore[arg-type]


@operation()
def partitions(server: Server, database: str) -> Generator[PyinfraCommand, None, None]:
    """
    Note down which tables have partitions, make those that are due, and drop those kept long enough.

    + server: the host's server
    + database: its name
    """
    port, declared = server.node.port, server.declared.databases[database].partitions
    found = host.get_fact(Answer, question="partitions", port=port, database=database) or []
    statements = plan_partitions(declared, found)
    due = host.get_fact(Answer, question="due partitions", port=port, database=database) or []
    if declared and (statements or due):
        statements.append("SELECT groundwork.maintain_partitions()")
    yield from run_statements(database, port, statements)


@operation()
def surplus_roles(server: Server) -> Generator[PyinfraCommand, None, None]:
    """
    Remove the roles of agent groups that are no longer declared; what they made stays, as the databases' owners'.

    + server: the host's server
    """
    port = server.node.port
    found = host.get_fact(Answer, question="cluster", port=port) or EMPTY
    surplus = list_surplus(server, found)
    if not surplus:
        host.noop("every agent group's role is declared")
        return
    for role in surplus:
        locked = [f"ALTER ROLE {quote_name(role)} NOLOGIN"]
        locked.append(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {quote_text(role)}")
        yield from run_statements("postgres", port, locked)
        for name, entry in sorted(found["databases"].items()):
            if entry["connectable"] and name != "template1":
                yield from run_statements(name, port, build_removal(role, entry["owner"]))
        yield from run_statements("postgres", port, [f"DROP ROLE IF EXISTS {quote_name(role)}"])


@operation()
def follow(server: Server, script: str) -> Generator[PyinfraCommand, None, None]:
    """
    Have a replica stream from its primary: copied where it never ran, made anew where the primary's log is gone.

    + server: the host's server
    + script: absolute path of ``postgresql-follow``
    """
    if server.is_primary:
        host.noop("the primary follows nobody")
    elif host.get_fact(Streaming, port=server.node.port):
        host.noop("the replica streams from its primary")
    else:
        yield StringCommand(QuoteString(script))
