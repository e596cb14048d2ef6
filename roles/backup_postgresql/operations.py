"""Operations of ``backup_postgresql``: the stanza of an archive, and its first backup."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host, logger, state
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError
from pyinfra.context import ctx_host

from groundwork.facts.systemd_units import UnitState, UnitStates
from roles.backup_postgresql.facts import Database, DatabaseHost, Kept, Stanza, SystemIdentifier
from roles.backup_postgresql.plan import Side


def ask_database(side: Side) -> Database | None:
    """Ask the database's host about itself, also from the one that keeps the archive; None where it does not answer."""
    server = state.inventory.get_host(side.archive.database.host)
    try:
        with ctx_host.use(server):
            if server not in state.activated_hosts:
                server.connect(reason="to ask for its PostgreSQL", show_errors=False, raise_exceptions=True)
            return server.get_fact(DatabaseHost)
    except Exception as error:  # whatever keeps a host from answering
        host.log(f"{server.name} does not say which PostgreSQL it has ({error}): left as it is", logger.warning)
        return None


def _ask_identifier(side: Side, version: int) -> str:
    server = state.inventory.get_host(side.archive.database.host)
    try:
        with ctx_host.use(server):
            return server.get_fact(SystemIdentifier, version=version)
    except Exception:
        return ""


def _ask_stanza(side: Side) -> Kept:
    one = side.archive
    return host.get_fact(Stanza, configuration=one.configuration, stanza=one.stanza, account=side.account)


@operation()
def stanza(side: Side, version: int) -> Generator[PyinfraCommand, None, None]:
    """
    Make pgBackRest's stanza where there is none, and bring it to a newer major version of the same service.

    + side: the host that keeps the archive
    + version: major version of the database

    A cluster that is another one of the same version is refused: its backups would push out those that may be needed.
    """
    one = side.archive
    call = f"cd / && runuser -u {side.account} -- pgbackrest --config={one.configuration} --stanza={one.stanza}"
    kept = _ask_stanza(side)
    if not kept.exists:
        yield StringCommand(f"{call} --log-level-console=off --log-level-stderr=warn stanza-create")
        return
    system = _ask_identifier(side, version)
    if not system or system == kept.system:
        host.noop(f"stanza {one.stanza} is there")
    elif kept.version != str(version):
        yield StringCommand(f"{call} --log-level-console=off --log-level-stderr=warn stanza-upgrade")
    else:
        raise OperationError(
            f"{one.database.host} has a PostgreSQL ({system}) that is not the one whose backups are kept"
            f" ({kept.system}): restore it (groundwork restore), or take the new one over: {call} stanza-upgrade"
        )


@operation()
def first_backup(side: Side) -> Generator[PyinfraCommand, None, None]:
    """
    Begin a full backup where there is none yet; nothing waits for it.

    + side: the host that keeps the archive
    """
    unit = side.backup_unit.replace("@.", "@full.")
    if _ask_stanza(side).backups:
        host.noop("there are backups")
    elif host.get_fact(UnitStates, units=[unit]).get(unit, UnitState()).is_active:
        host.noop("the first backup is being made")
    else:
        yield StringCommand("systemctl start --no-block --", QuoteString(unit))
