"""Keeps a release from being switched to where the database it needs is not at its version."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from pyinfra import host, state
from pyinfra.api import operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.api.host import Host
from pyinfra.context import ctx_host

from groundwork.manifest.services import PostgresqlService
from groundwork.operations.refusals import refusing
from groundwork.site import Site
from roles.postgresql.access import list_logins
from roles.postgresql.facts import Answer
from roles.postgresql.migrations import read_migrations

Digests = Mapping[str, Mapping[str, str]]


def hold_releases(site: Site) -> None:
    """Add the operation to every host whose agents use a database; call it before anything releases agents."""
    groups = {process.group for process in site.topology.processes_on(host.name)}
    for node in site.topology.nodes:
        service = site.platform.services[node.service]
        if not isinstance(service, PostgresqlService) or node.role != "primary":
            continue
        with refusing():
            logins = list_logins(site.platform, site.topology, node.service)
            used = {database for login in logins if login.role in groups for database, _ in login.rights}
            folders = {name: service.databases[name].migrations for name in sorted(used)}
            expected = {
                name: {one.name: one.digest for one in read_migrations(site.path(folder), folder)} if folder else {}
                for name, folder in folders.items()
            }
        if used:
            migrated(
                name=f"Hold the release until {node.service} is ready",
                primary=node.host,
                port=node.port,
                expected=expected,
            )


@operation()
def migrated(primary: str, port: int, expected: Digests) -> Generator[PyinfraCommand, None, None]:
    """
    Fail where the database's host failed in this run, or lacks migrations that the release brings.

    + primary: name of the database's host
    + port: the server's
    + expected: for each database the migrations by name with their SHA-256

    Changes nothing. All later operations of a failed host are left out, so its agents go on as they are.
    """
    yield from ()
    if not state.is_executing:
        host.noop("known when the migrations have run")
        return
    server = state.inventory.get_host(primary)
    if server in state.failed_hosts:
        raise OperationError(f"{primary} failed, which has the database: the running release stays")
    if server in state.active_hosts:
        host.noop(f"{primary} has had its migrations in this run")
        return
    for database, digests in expected.items():
        missing = sorted(set(digests.items()) - set(_read_applied(server, port, database)))
        if missing:
            names = ", ".join(name for name, _ in missing)
            raise OperationError(
                f"database {database} on {primary} lacks {names}, and {primary} is not part of this run:"
                " the running release stays"
            )
    host.noop(f"{primary} has had its migrations")


def _read_applied(server: Host, port: int, database: str) -> list[tuple[str, str]]:
    """What a host that is not part of the run has applied."""
    try:
        with ctx_host.use(server):
            server.connect(reason="to look at its migrations", show_errors=False, raise_exceptions=True)
            rows = server.get_fact(Answer, question="applied", port=port, database=database)
    except Exception as error:
        raise OperationError(
            f"cannot tell what {server.name} has migrated: {error}: the running release stays"
        ) from None
    return [(name, digest) for name, digest in rows or []]
