"""PostgreSQL: one server on a host, its databases with their rights and migrations, PgBouncer, and its replicas."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta

from groundwork.authority import paths
from groundwork.facts.ledger import Ledger
from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.ledger_items import Item
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.site import Site
from roles.postgresql import access, facts, operations, plan
from roles.postgresql.gate import hold_releases
from roles.postgresql.migrations import Migration, choose_pending, read_migrations
from roles.postgresql.pooling import run_pool
from roles.postgresql.sizing import format_bytes
from roles.postgresql.statements import check_owners

CREATE_CLUSTER = "/etc/postgresql-common/createcluster.d/50-groundwork.conf"
PREFIXES = (*plan.LEDGER_PREFIXES, "/etc/postgresql-common/")


@deploy("Run PostgreSQL")
def postgresql(site: Site) -> None:
    """Set up the host's PostgreSQL, take away what it no longer has but data, and hold releases it is not fit for."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        server = plan.plan_server(
            site.platform,
            site.topology,
            host.name,
            host.get_fact(facts.HostResources),
            host.get_fact(facts.Release),
            host.get_fact(facts.OfferedVersions),  # type: ignore[arg-type]
            host.get_fact(facts.ExistingVersions),  # type: ignore[arg-type]
        )
        files = read_files(site, server) if server and server.is_primary else {}
        if server and server.is_primary:
            _check_before(server, files)
    role = f"postgresql-{site.platform.platform}"
    items = plan.list_items(server)
    items += [Item("file", CREATE_CLUSTER)] if server else []
    recorded = host.get_fact(Ledger, role=role)
    ledger.begin(name="Note what postgresql lays down", role=role, items=items)
    if server:
        _run_server(server, files)
    else:
        _stop_servers(recorded)
    if server is None or not server.has_pool:
        _stop_pool(recorded)
    # Every host comes here before any goes on, so that releases are held after the migrations have run or failed.
    ledger.finish(name="Remove what postgresql no longer declares", role=role, items=items, prefixes=PREFIXES)
    hold_releases(site)


def read_files(site: Site, server: plan.Server) -> dict[str, tuple[Migration, ...]]:
    """Return the migrations of each database. Raises ProblemError with every mistake in them."""
    return {
        name: read_migrations(site.path(database.migrations), database.migrations)
        for name, database in server.declared.databases.items()
        if database.migrations
    }


def _check_before(server: plan.Server, files: dict[str, tuple[Migration, ...]]) -> None:
    """Raise ProblemError for what stands against the databases as they are, before anything changes."""
    port = server.node.port
    check_owners(server.service, server.declared, host.get_fact(facts.Answer, question="cluster", port=port))
    for name, migrations in files.items():
        choose_pending(migrations, host.get_fact(facts.Answer, question="applied", port=port, database=name) or [])


def _run_server(server: plan.Server, files: dict[str, tuple[Migration, ...]]) -> None:
    validated_files.validated_file(
        name="Keep the package from making a cluster of its own",
        dest=CREATE_CLUSTER,
        content="create_main_cluster = false\n",
    )
    hold = [plan.POOL_UNIT] if server.has_pool else []
    apt.packages(name="Install PostgreSQL", packages=server.packages, hold_services=hold)
    operations.cluster(name="Make the cluster", server=server)
    _install_helpers(server)
    settings = _configure(server)
    sandbox = systemd_units.dropin(
        name="Sandbox PostgreSQL",
        unit=server.unit,
        dropin=plan.DROP_IN,
        content=render_template("postgresql/unit.conf.j2", server=server),
    )
    if server.is_primary:
        _serve(server, sandbox, settings)
        _fill(server, files)
    if server.has_pool:
        run_pool(server)
    # On every host of the service: an operation of the same line begins when all hosts have come to it, and a replica
    # can follow only a primary that is complete.
    script = f"{plan.helpers_folder(server.platform)}/postgresql-follow"
    operations.follow(name="Follow the primary", server=server, script=script)
    if not server.is_primary:
        _serve(server, sandbox, settings)


def _serve(server: plan.Server, sandbox: OperationMeta, settings: list[OperationMeta]) -> None:
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


def _install_helpers(server: plan.Server) -> None:
    data = {
        "server": server,
        "sockets": plan.SOCKETS,
        "port": server.node.port,
        "primary": build_primary(server),
        "slot": plan.slot_name(server.node.host),
    }
    for script in ("postgresql-try", "postgresql-follow"):
        validated_files.validated_template(
            name=f"Install {script}",
            src=f"postgresql/{script}.j2",
            dest=f"{plan.helpers_folder(server.platform)}/{script}",
            data=data,
            mode="0755",
            check=["sh", "-n", "{candidate}"],
        )


def build_primary(server: plan.Server) -> str:
    """How a replica reaches its primary: by its own certificate, after it has checked the primary's."""
    unit = server.identity
    return (
        f"host={server.primary.address} port={server.primary.port} user={access.REPLICATION} sslmode=verify-full"
        f" sslcert={paths.certificate(server.platform, unit)} sslkey={paths.key(server.platform, unit)}"
        f" sslrootcert={paths.bundle(server.platform)} sslcrl={paths.revocation_list(server.platform)}"
        f" application_name={plan.slot_name(server.node.host)} connect_timeout=10"
    )


def _configure(server: plan.Server) -> list[OperationMeta]:
    settings = validated_files.validated_template(
        name="Configure PostgreSQL",
        src="postgresql/settings.conf.j2",
        dest=server.settings_file,
        data={
            "server": server,
            "size": format_bytes,
            "sockets": plan.SOCKETS,
            "certificate": paths.certificate(server.platform, server.identity),
            "key": paths.key(server.platform, server.identity),
            "bundle": paths.bundle(server.platform),
            "revocation_list": paths.revocation_list(server.platform),
            "primary": build_primary(server),
            "slot": plan.slot_name(server.node.host),
        },
        # -C reads the whole file and gives up at what it does not understand.
        check=f"{server.programs}/postgres -D {server.data_folder} -c config_file={{candidate}} -C max_connections",
        check_user="postgres",
    )
    start = validated_files.validated_file(
        name="Start the cluster with the host",
        dest=f"{server.folder}/start.conf",
        content="auto\n",
        user="postgres",
        group="postgres",
    )
    tried = f"{plan.helpers_folder(server.platform)}/postgresql-try"
    rules = access.render_access(server.node, server.declared, server.logins, server.replicas)
    mappings = access.render_mappings(server.service, server.declared, server.logins)
    written = [settings, start]
    for kind, dest, content in (("ident", server.mapping_file, mappings), ("hba", server.access_file, rules)):
        meta = validated_files.validated_file(
            name=f"Set who may connect ({kind})",
            dest=dest,
            content=content,
            group="postgres",
            mode="0640",
            check=[tried, kind, dest, "{candidate}"],
        )
        written.append(meta)
    return written


def _fill(server: plan.Server, files: dict[str, tuple[Migration, ...]]) -> None:
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


def _run_timer(server: plan.Server) -> None:
    name = plan.timer_unit(server.platform)
    databases = [key for key, database in server.declared.databases.items() if database.partitions]
    content = {
        suffix: render_template(
            f"postgresql/partitions.{suffix}.j2", server=server, sockets=plan.SOCKETS, databases=databases
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


def _stop_servers(recorded: list[Item]) -> None:
    """Stop what this role ran here, and have Debian's tools leave it stopped; the data stay."""
    for item in recorded:
        unit, _, rest = item.name.removeprefix(f"{systemd_units.FOLDER}/").partition(".d/")
        if rest != plan.DROP_IN or not unit.startswith("postgresql@"):
            continue
        version = unit.removeprefix("postgresql@").partition("-")[0]
        systemd_units.service(name="Stop PostgreSQL", units=unit, running=False, enabled=False)
        validated_files.validated_file(
            name="Keep the cluster from starting with the host",
            dest=f"/etc/postgresql/{version}/{plan.CLUSTER}/start.conf",
            content="manual\n",
            user="postgres",
            group="postgres",
        )


def _stop_pool(recorded: list[Item]) -> None:
    if Item("directory", plan.POOL_FOLDER) in recorded:
        systemd_units.service(name="Stop PgBouncer", units=plan.POOL_UNIT, running=False, enabled=False)
