"""PgBouncer in front of a primary: the only way by which agents reach it."""

from __future__ import annotations

from pyinfra import host
from pyinfra.operations import files

from groundwork.authority import paths
from groundwork.facts.packages import InstalledPackages
from groundwork.operations import systemd_units, validated_files
from groundwork.operations.rendering import render_template
from groundwork.topology.scraping import POOL_READER
from roles.postgresql import access, facts
from roles.postgresql.server import DROP_IN, POOL_FOLDER, POOL_SOCKETS, POOL_UNIT, Server, helpers_folder
from roles.postgresql.sizing import RESERVED_CONNECTIONS
from roles.postgresql.versions import keeps_prepared_statements

# Besides clients and servers: the log, the sockets, files that are read (PgBouncer's FAQ adds a few).
SPARE_DESCRIPTORS = 1024


def run_pool(server: Server) -> None:
    """Set up PgBouncer on the primary's host."""
    pool = server.declared.pgbouncer
    assert pool is not None
    folder, unit = POOL_FOLDER, server.pool_identity
    files.directory(name="Make PgBouncer's folder", path=folder, user="root", group="postgres", mode="0750")
    tried = f"{helpers_folder(server.platform)}/pgbouncer-try"
    validated_files.validated_template(
        name="Install pgbouncer-try",
        src="postgresql/pgbouncer-try.j2",
        dest=tried,
        data={"port": pool.port},
        mode="0755",
        check=["sh", "-n", "{candidate}"],
    )
    installed = host.get_fact(InstalledPackages, packages=["pgbouncer"]).get("pgbouncer", "")
    data = {
        "server": server,
        "pool": pool,
        "folder": folder,
        "sockets": POOL_SOCKETS,
        "certificate": paths.certificate(server.platform, unit),
        "key": paths.key(server.platform, unit),
        "bundle": paths.bundle(server.platform),
        "readers": POOL_READER if any(one.role == access.METRICS for one in server.logins) else "",
        "connections": share_connections(server),
        "prepared_statements": keeps_prepared_statements(host.get_fact(facts.Release), installed),
    }
    texts = {
        "users.txt": access.render_pool_users(server.logins),
        "hba.conf": access.render_pool_access(server.node, server.logins),
        "listen.ini": render_template("postgresql/listen.ini.j2", **data),
        "pgbouncer.ini": render_template("postgresql/pgbouncer.ini.j2", **data),
    }
    written = [
        validated_files.validated_file(
            name=f"Configure PgBouncer ({name})",
            dest=f"{folder}/{name}",
            content=text,
            group="postgres",
            mode="0640",
            check=[tried, "{candidate}"] if name == "pgbouncer.ini" else None,
            check_user="postgres" if name == "pgbouncer.ini" else None,
        )
        for name, text in texts.items()
    ]
    clients = sorted({address for login in server.logins for address in login.addresses} - {server.node.address})
    descriptors = pool.maximum_client_connections + server.sizes.max_connections + SPARE_DESCRIPTORS
    # The next power of two: a few connections more or less change nothing that would need a restart.
    descriptors = 1 << (descriptors - 1).bit_length()
    sandbox = systemd_units.dropin(
        name="Sandbox PgBouncer",
        unit=POOL_UNIT,
        dropin=DROP_IN,
        content=render_template("postgresql/pgbouncer.conf.j2", **data, clients=clients, descriptors=descriptors),
    )
    drop_in = f"{systemd_units.FOLDER}/{POOL_UNIT}.d/{DROP_IN}"
    systemd_units.service(
        name="Run PgBouncer",
        units=POOL_UNIT,
        restart_inputs=[drop_in, f"{folder}/listen.ini", "/usr/sbin/pgbouncer"],
        after=[sandbox, written[2]],
    )
    systemd_units.service(
        name="Have PgBouncer read its settings and certificates",
        units=POOL_UNIT,
        enabled=None,
        reload_inputs=[*(f"{folder}/{name}" for name in texts), *server.pool_inputs],
        after=[*written[:2], written[3]],
    )


def share_connections(server: Server) -> int:
    """Connections that the pool may open to one database, so that all together leave some for everything else."""
    return max(1, (server.sizes.max_connections - RESERVED_CONNECTIONS) // len(server.declared.databases))
