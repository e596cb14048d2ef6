"""NATS: one server, or a cluster of all hosts of the group, that knows its clients by their certificates."""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files

from groundwork.facts.systemd_units import UnitState, UnitStates
from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.site import Site
from roles.nats import operations, plan
from roles.nats.facts import DebianVersion

PACKAGE_UNIT = "nats-server.service"
HELPER = Path(__file__).parent / "onhost" / "nats_admin.py"
# Debian 13 has NATS 2.10, the first that can write every message to the disk before it is acknowledged.
SYNC_SINCE = 13


@deploy("Run NATS")
def nats(site: Site) -> None:
    """Set up the host's servers of NATS, and take away those it no longer has; their data stays."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        servers = plan.plan_servers(site.platform, site.topology, host.name)
    role = f"nats-{site.platform.platform}"
    items = plan.list_items(servers)
    ledger.begin(name="Note what nats lays down", role=role, items=items)
    if servers:
        _prepare_host(site.platform.platform)
    for one in servers:
        _run_server(one)
    ledger.finish(name="Remove what nats no longer declares", role=role, items=items)


@deploy("Load NATS's certificates")
def nats_certificates(site: Site) -> None:
    """Have the host's servers of NATS read certificates and trust again; nothing else is looked at."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        servers = plan.plan_servers(site.platform, site.topology, host.name)
    for one in servers:
        if host.get_fact(UnitStates, units=[one.unit]).get(one.unit, UnitState()).is_active:
            _load(one, [])


def _prepare_host(platform: str) -> None:
    """What all servers of the host share: the package, whose own server never starts, and the helper."""
    packages = ["nats-server", "python3"]
    apt.packages(name="Install NATS", packages=packages, hold_services=[PACKAGE_UNIT])
    # Where the package was there before: its own server listens to anybody.
    systemd_units.service(name="Stop the package's own server", units=PACKAGE_UNIT, running=False, enabled=False)
    files.link(
        name="Keep the package's own server from starting",
        path=f"/etc/systemd/system/{PACKAGE_UNIT}",
        target="/dev/null",
        force=True,
        force_backup=False,
    )
    validated_files.validated_file(
        name="Install nats-admin",
        dest=plan.helper_path(platform),
        content=HELPER.read_text(),
        mode="0755",
        check=["python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", "{candidate}"],
    )


def _run_server(one: plan.Server) -> None:
    clients = validated_files.validated_template(
        name=f"Set the users of {one.instance}",
        src="nats/clients.conf.j2",
        dest=one.clients,
        data={"server": one, "declared": one.declared, "maximum_connections": plan.MAXIMUM_CONNECTIONS},
        group="nats",
        mode="0640",
        check=[plan.PROGRAM, "-t", "-c", "{candidate}"],
        check_user="nats",
    )
    name = Path(one.clients).name
    configuration = validated_files.validated_template(
        name=f"Configure {one.instance}",
        src="nats/server.conf.j2",
        dest=one.configuration,
        data={
            "server": one,
            "declared": one.declared,
            "clients": name,
            "always_sync": host.get_fact(DebianVersion) >= SYNC_SINCE,
        },
        group="nats",
        mode="0640",
        # Includes are looked up beside the file that names them.
        check=(
            'stage=$(mktemp -d) && trap \'rm -rf -- "$stage"\' EXIT && cp -- {candidate} "$stage/server.conf" && '
            f'cp -- {one.clients} "$stage/{name}" && {plan.PROGRAM} -t -c "$stage/server.conf"'
        ),
        check_user="nats",
    )
    unit = systemd_units.unit(
        name=f"Describe {one.instance} to systemd",
        unit=one.unit,
        content=render_template(
            "nats/unit.service.j2", server=one, declared=one.declared, program=plan.PROGRAM, open_files=plan.OPEN_FILES
        ),
    )
    _start_server(one, clients, [configuration, unit])
    _make_streams(one, [clients, configuration, unit])


def _start_server(one: plan.Server, clients: OperationMeta, others: list[OperationMeta]) -> None:
    # All members at once: none of them works before a majority is there.
    systemd_units.service(name=f"Start {one.instance}", units=one.unit)
    # One member after the other, each back in the cluster before the next: the others go on serving.
    systemd_units.service(
        name=f"Restart {one.instance} where it must",
        units=one.unit,
        restart_inputs=one.restart_inputs,
        after=others,
        _serial=bool(one.members),
    )
    _load(one, [clients])


def _load(one: plan.Server, after: list[OperationMeta]) -> None:
    operations.loaded_configuration(
        name=f"Have {one.instance} read its users and certificates",
        unit=one.unit,
        helper=one.helper,
        port=one.declared.monitoring_port,
        paths=one.reload_inputs,
        after=after,
        _serial=bool(one.members),
    )


def _make_streams(one: plan.Server, after: list[OperationMeta]) -> None:
    """Buckets, streams and consumers; in a cluster its first server makes them for all."""
    if not one.first or one.declared.jetstream is None:
        return
    content = json.dumps(plan.describe_streams(one), indent=1) + "\n"
    described = validated_files.validated_file(
        name=f"Describe the streams of {one.service}", dest=one.streams, content=content
    )
    operations.streams(
        name=f"Make the streams of {one.service}", helper=one.helper, path=one.streams, after=[*after, described]
    )
