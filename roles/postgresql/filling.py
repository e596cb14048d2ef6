"""What a primary holds: roles, databases, rights, migrations and partitions."""

from __future__ import annotations

from groundwork.operations import systemd_units
from groundwork.operations.rendering import render_template
from roles.postgresql import operations
from roles.postgresql.migrations import Migration
from roles.postgresql.server import SOCKETS, Server, timer_unit


def fill(server: Server, files: dict[str, tuple[Migration, ...]]) -> None:
    """Roles, databases, rights, migrations and partitions of the primary."""
    operations.roles(name="Set the roles", server=server)
    operations.databases(name="Set the databases", server=server)
    for name in server.declared.databases:
        operations.database_rights(name=f"Set the rights in {name}", server=server, database=name)
        if files.get(name):
            operations.migrations(name=f"Migrate {name}", server=server, database=name, files=files[name])
        operations.partitions(name=f"Look after the partitions of {name}", server=server, database=name)
    operations.surplus_roles(name="Remove roles that are no longer declared", server=server)
    if server.maintains_partitions:
        _run_timer(server)


def _run_timer(server: Server) -> None:
    name = timer_unit(server.platform)
    databases = [key for key, database in server.declared.databases.items() if database.partitions]
    content = {
        suffix: render_template(
            f"postgresql/partitions.{suffix}.j2", server=server, sockets=SOCKETS, databases=databases
        )
        for suffix in ("service", "timer")
    }
    units = [
        systemd_units.unit(name=f"Install the partitions' {suffix}", unit=f"{name}.{suffix}", content=text)
        for suffix, text in content.items()
    ]
    systemd_units.service(
        name="Look after partitions every day",
        units=f"{name}.timer",
        restart_inputs=[f"{systemd_units.FOLDER}/{name}.timer"],
        after=units[1:],
    )
