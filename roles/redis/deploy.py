"""Redis: the servers that a host carries, each an instance of Debian's unit with its own users and limits."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files, server

from groundwork.authority import paths
from groundwork.facts.container import InContainer
from groundwork.operations import apt, ledger, secret_files, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_secret, render_template
from groundwork.secrets.value import SecretValue
from groundwork.site import Site
from groundwork.topology.secrets import credential_name
from roles.redis import joining, membership, plan
from roles.redis.access import REPLICATION
from roles.redis.facts import HostMemory
from roles.redis.operations import access_list, filter_in_effect, local_password, settings_in_effect
from roles.redis.server import DROP_IN, NETWORK_DROP_IN, Server, helpers_folder, memory_setting

PACKAGE_UNIT = "redis-server.service"
SETTINGS_HELPER = Path(__file__).parent / "programs" / "redis_settings.py"


@deploy("Run Redis")
def redis(site: Site) -> None:
    """Set up the host's servers of Redis, and take away those it no longer has; their data stays."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        servers = plan.plan_servers(site.platform, site.topology, host.name, host.get_fact(HostMemory))
        passwords = {server.instance: _read_passwords(site, server) for server in servers}
    role = f"redis-{site.platform.platform}"
    items = plan.list_items(servers)
    ledger.begin(name="Note what redis lays down", role=role, items=items)
    if servers:
        _prepare_host(site.platform.platform)
    together = joining.prepare_services(site, servers)
    for one in servers:
        _run_server(one, passwords[one.instance])
    joining.arrange_services(site, servers, together)
    joining.guard_slots(site, servers, role)
    ledger.finish(name="Remove what redis no longer declares", role=role, items=items)


def _read_passwords(site: Site, one: Server) -> dict[str, SecretValue]:
    """The passwords of a server's clients. Raises ProblemError where one is not set."""
    names = {access.client: credential_name(one.service, access.client) for access in one.access}
    return {client: site.secret(name) for client, name in names.items()}


def _prepare_host(platform: str) -> None:
    """What all servers of the host share: the package, the kernel's setting, the scripts."""
    apt.packages(name="Install Redis", packages=["redis-server"], hold_services=[PACKAGE_UNIT])
    # Where the package was there before: its own server listens without a password.
    systemd_units.service(name="Stop the package's own server", units=PACKAGE_UNIT, running=False, enabled=False)
    files.link(
        name="Keep the package's own server from starting",
        path=f"/etc/systemd/system/{PACKAGE_UNIT}",
        target="/dev/null",
        force=True,
        force_backup=False,
    )
    validated_files.validated_file(
        name="Let Redis snapshot without reserving memory",
        dest=memory_setting(platform),
        # redis.io, "Redis administration": without it the fork for a snapshot can fail.
        content="vm.overcommit_memory = 1\n",
    )
    # A container would set this for its whole machine.
    if not host.get_fact(InContainer):
        server.sysctl(name="Activate that setting", key="vm.overcommit_memory", value=1)
    for script in ("redis-try", "redis-reload"):
        validated_files.validated_template(
            name=f"Install {script}",
            src=f"redis/{script}.j2",
            dest=f"{helpers_folder(platform)}/{script}",
            data={"platform": platform},
            mode="0755",
            check=["sh", "-n", "{candidate}"],
        )
    validated_files.validated_file(
        name="Install redis-settings",
        dest=f"{helpers_folder(platform)}/redis-settings",
        content=SETTINGS_HELPER.read_text(encoding="utf-8"),
        mode="0755",
    )


def _run_server(one: Server, passwords: dict[str, SecretValue]) -> None:
    label = one.instance
    files.directory(
        name=f"Make the data folder of {label}", path=one.data_folder, user="redis", group="redis", mode="0700"
    )
    secret = local_password(name=f"Make root's own password for {label}", path=one.operator_password)
    script = f"{helpers_folder(one.platform)}/redis-try"
    users = access_list(
        name=f"Set the users of {label}",
        dest=one.access_list,
        access=one.access,
        passwords=passwords,
        operator_password=one.operator_password,
        check=[script, "users", "{candidate}"],
    )
    reloaded = [users]
    if one.mode != "standalone":
        reloaded.append(_write_login(one, passwords[REPLICATION]))
    configuration = validated_files.validated_template(
        name=f"Configure {label}",
        src="redis/redis.conf.j2",
        dest=one.configuration,
        data={"server": one, "declared": one.declared},
        group="redis",
        mode="0640",
        check=[script, "configuration", "{candidate}"],
        check_user="redis",
    )
    unit = systemd_units.dropin(
        name=f"Sandbox {label}",
        unit=one.unit,
        dropin=DROP_IN,
        content=render_unit(one),
    )
    systemd_units.dropin(
        name=f"Let in who may connect to {label}",
        unit=one.unit,
        dropin=NETWORK_DROP_IN,
        content=render_template("redis/network.conf.j2", server=one),
    )
    _start_server(one, [secret, configuration, unit], reloaded)


def render_unit(one: Server) -> str:
    """What Debian's template of a unit lacks for one server."""
    place = f"{one.address}:{one.port}"
    start, stop = (
        " ".join(membership.command(one.platform, one.service, one.mode, *words, one.memory_of_role))
        for words in (("start", place, one.role), ("stop", place))
    )
    helpers = helpers_folder(one.platform)
    return render_template("redis/unit.conf.j2", server=one, helpers=helpers, start=start, stop=stop)


def _write_login(one: Server, password: SecretValue) -> OperationMeta:
    # Each byte by its number: no character of it can end the string or the line.
    escaped = "".join(f"\\x{byte:02x}" for byte in password.reveal().encode())
    return secret_files.secret_file(
        name=f"Give {one.instance} its login at other servers",
        dest=one.login,
        content=render_secret("redis/login.conf.j2", user=REPLICATION, password=SecretValue(escaped)),
        group="redis",
        mode="0640",
    )


def _start_server(one: Server, inputs: list[OperationMeta], reloaded: list[OperationMeta]) -> None:
    systemd_units.service(
        name=f"Run {one.instance}",
        units=one.unit,
        # Servers that stand in for each other are never restarted at the same time.
        _serial=one.mode != "standalone",
        # The program is among them so that a security update of the package comes into effect.
        restart_inputs=[one.configuration, one.drop_in, one.operator_password, "/usr/bin/redis-server"],
        after=inputs,
    )
    filter_in_effect(name=f"Let {one.instance} hear them", unit=one.unit, dropin=one.network)
    systemd_units.service(
        name=f"Have {one.instance} read its users and certificate",
        units=one.unit,
        enabled=None,
        reload_inputs=[
            one.access_list,
            *([one.login] if one.mode != "standalone" else []),
            paths.certificate_folder(one.platform, one.identity),
            one.authority,
        ],
        after=reloaded,
    )
    # After the users were read: what differs then is nothing that this run has written.
    settings_in_effect(
        name=f"Have {one.instance} go by its configuration",
        unit=one.unit,
        helper=f"{helpers_folder(one.platform)}/redis-settings",
        configuration=one.configuration,
        socket=one.socket,
        password=one.operator_password,
        _serial=one.mode != "standalone",
    )
