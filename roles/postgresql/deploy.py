"""PostgreSQL: one server on a host, its databases with their rights and migrations, PgBouncer, and its replicas."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files

from groundwork.facts.ledger import Ledger
from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.ledger_items import Item
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.site import Site
from roles.postgresql import facts, operations, plan
from roles.postgresql.configuring import build_primary, configure
from roles.postgresql.filling import fill
from roles.postgresql.gate import hold_releases
from roles.postgresql.migrations import Migration, choose_pending, read_migrations
from roles.postgresql.pooling import run_pool
from roles.postgresql.server import (
    CLUSTER,
    DROP_IN,
    POOL_FOLDER,
    POOL_UNIT,
    SOCKETS,
    Server,
    helpers_folder,
    slot_name,
)
from roles.postgresql.statements import check_owners

CREATE_CLUSTER = "/etc/postgresql-common/createcluster.d/50-groundwork.conf"
PREFIXES = (*plan.LEDGER_PREFIXES, "/etc/postgresql-common/")


@deploy("Run PostgreSQL")
def postgresql(site: Site) -> None:
    """Set up the host's PostgreSQL, take away what it no longer has but data, and hold releases it is not fit for."""
    with refusing():
        server = _plan(site)
        migrations = read_files(site, server) if server and server.is_primary else {}
        if server and server.is_primary:
            _check_before(server, migrations)
    role = f"postgresql-{site.platform.platform}"
    items = plan.list_items(server)
    items += [Item("file", CREATE_CLUSTER)] if server else []
    recorded = host.get_fact(Ledger, role=role)
    ledger.begin(name="Note what postgresql lays down", role=role, items=items)
    if server:
        _run_server(server, migrations)
    else:
        _stop_servers(recorded)
    if server is None or not server.has_pool:
        _stop_pool(recorded)
    # Every host comes here before any goes on, so that releases are held after the migrations have run or failed.
    ledger.finish(name="Remove what postgresql no longer declares", role=role, items=items, prefixes=PREFIXES)
    hold_releases(site)


@deploy("Load PostgreSQL's certificates")
def postgresql_certificates(site: Site) -> None:
    """Have the host's PostgreSQL and PgBouncer read certificates and trust again; nothing else is looked at."""
    with refusing():
        server = _plan(site)
    if server is None:
        return
    systemd_units.reloaded(
        name="Have PostgreSQL read its certificates", units=server.unit, inputs=server.certificate_inputs
    )
    if server.has_pool:
        systemd_units.reloaded(name="Have PgBouncer read its certificates", units=POOL_UNIT, inputs=server.pool_inputs)


def _plan(site: Site) -> Server | None:
    """Return the host's server, None where it has none. Raises ProblemError."""
    plan.check_platform(site.platform, site.topology)
    return plan.plan_server(
        site.platform,
        site.topology,
        host.name,
        host.get_fact(facts.HostResources),
        host.get_fact(facts.Release),
        host.get_fact(facts.OfferedVersions),  # type: ignore[arg-type]
        host.get_fact(facts.ExistingVersions),  # type: ignore[arg-type]
    )


def read_files(site: Site, server: Server) -> dict[str, tuple[Migration, ...]]:
    """Return the migrations of each database. Raises ProblemError with every mistake in them."""
    return {
        name: read_migrations(site.path(database.migrations), database.migrations)
        for name, database in server.declared.databases.items()
        if database.migrations
    }


def _check_before(server: Server, migrations: dict[str, tuple[Migration, ...]]) -> None:
    """Raise ProblemError for what stands against the databases as they are, before anything changes."""
    port = server.node.port
    check_owners(server.service, server.declared, host.get_fact(facts.Answer, question="cluster", port=port))
    for name, declared in migrations.items():
        choose_pending(declared, host.get_fact(facts.Answer, question="applied", port=port, database=name) or [])


def _run_server(server: Server, migrations: dict[str, tuple[Migration, ...]]) -> None:
    validated_files.validated_file(
        name="Keep the package from making a cluster of its own",
        dest=CREATE_CLUSTER,
        content="create_main_cluster = false\n",
    )
    hold = [POOL_UNIT] if server.has_pool else []
    apt.packages(name="Install PostgreSQL", packages=server.packages, hold_services=hold)
    operations.cluster(name="Make the cluster", server=server)
    _install_helpers(server)
    settings = configure(server)
    if server.local_archive:
        # Before the server starts: a folder that comes later stays read-only for it.
        files.directory(
            name="Make the folder of its archive",
            path=server.local_archive,
            user="postgres",
            group="postgres",
            mode="0750",
        )
    sandbox = systemd_units.dropin(
        name="Sandbox PostgreSQL",
        unit=server.unit,
        dropin=DROP_IN,
        content=render_template("postgresql/unit.conf.j2", server=server),
    )
    if server.is_primary:
        _serve(server, sandbox, settings)
        fill(server, migrations)
    if server.has_pool:
        run_pool(server)
    # On every host of the service: an operation of the same line begins when all hosts have come to it, and a replica
    # can follow only a primary that is complete.
    script = f"{helpers_folder(server.platform)}/postgresql-follow"
    operations.follow(name="Follow the primary", server=server, script=script)
    if not server.is_primary:
        _serve(server, sandbox, settings)


def _serve(server: Server, sandbox: OperationMeta, settings: list[OperationMeta]) -> None:
    """Have the server run on the settings and certificates as they are, with as little interruption as they need."""
    systemd_units.service(
        name="Run PostgreSQL",
        units=server.unit,
        restart_inputs=[server.drop_in, f"{server.programs}/postgres"],
        after=[sandbox],
    )
    systemd_units.service(
        name="Have PostgreSQL read its settings and certificates",
        units=server.unit,
        enabled=None,
        reload_inputs=[server.settings_file, server.access_file, server.mapping_file, *server.certificate_inputs],
        after=settings,
    )
    operations.restart_pending(name="Restart PostgreSQL where settings need it", server=server)


def _install_helpers(server: Server) -> None:
    data = {
        "server": server,
        "sockets": SOCKETS,
        "port": server.node.port,
        "primary": build_primary(server),
        "slot": slot_name(server.node.host),
    }
    for script in ("postgresql-try", "postgresql-follow"):
        validated_files.validated_template(
            name=f"Install {script}",
            src=f"postgresql/{script}.j2",
            dest=f"{helpers_folder(server.platform)}/{script}",
            data=data,
            mode="0755",
            check=["sh", "-n", "{candidate}"],
        )


def _stop_servers(recorded: list[Item]) -> None:
    """Stop what this role ran here, and have Debian's tools leave it stopped; the data stay."""
    for item in recorded:
        unit, _, rest = item.name.removeprefix(f"{systemd_units.FOLDER}/").partition(".d/")
        if rest != DROP_IN or not unit.startswith("postgresql@"):
            continue
        version = unit.removeprefix("postgresql@").partition("-")[0]
        systemd_units.service(name="Stop PostgreSQL", units=unit, running=False, enabled=False)
        validated_files.validated_file(
            name="Keep the cluster from starting with the host",
            dest=f"/etc/postgresql/{version}/{CLUSTER}/start.conf",
            content="manual\n",
            user="postgres",
            group="postgres",
        )


def _stop_pool(recorded: list[Item]) -> None:
    if Item("directory", POOL_FOLDER) in recorded:
        systemd_units.service(name="Stop PgBouncer", units=POOL_UNIT, running=False, enabled=False)
