"""Consul from its vendor: one server or several, TLS on every port, nothing allowed that no policy allows."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files

from groundwork.operations import apt, ledger, secret_files, systemd_units, validated_files, vendor_packages
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.secrets.value import SecretValue
from groundwork.site import Site
from groundwork.topology.secrets import CONSUL_AGENT, CONSUL_GOSSIP, CONSUL_MANAGEMENT, credential_name
from roles.consul import operations, plan

HELPER = Path(__file__).parent / "onhost" / "consul_admin.py"
Secrets = dict[str, SecretValue]


@deploy("Run Consul")
def consul(site: Site) -> None:
    """Set up the host's server of Consul, and take away what it no longer has; its data stays."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        servers = plan.plan_servers(site.platform, site.topology, host.name)
        secrets = {one.instance: _read_secrets(site, one) for one in servers}
    role = f"consul-{site.platform.platform}"
    items = plan.list_items(servers)
    ledger.begin(name="Note what consul lays down", role=role, items=items)
    if servers:
        _prepare_host(site, servers[0])
    for one in servers:
        _run_server(one, secrets[one.instance])
    ledger.finish(name="Remove what consul no longer declares", role=role, items=items)


def _read_secrets(site: Site, one: plan.Server) -> Secrets:
    """The secrets of a server and its clients. Raises ProblemError where one is not set."""
    clients = [access.group for access in one.access]
    names = [CONSUL_MANAGEMENT, CONSUL_AGENT, CONSUL_GOSSIP, *clients]
    return {name: site.secret(credential_name(one.service, name)) for name in names}


def _prepare_host(site: Site, one: plan.Server) -> None:
    """The package, whose own server never starts, and the helper."""
    apt.packages(name="Install Python", packages=["python3"])
    vendor_packages.vendor_package(
        name="Install Consul",
        site=site,
        package=plan.PACKAGE,
        version=one.declared.version or "",
        hold_services=[plan.PACKAGE_UNIT],
    )
    # Where the package was there before: its own server asks for no token.
    systemd_units.service(name="Stop the package's own server", units=plan.PACKAGE_UNIT, running=False, enabled=False)
    files.link(
        name="Keep the package's own server from starting",
        path=f"/etc/systemd/system/{plan.PACKAGE_UNIT}",
        target="/dev/null",
        force=True,
        force_backup=False,
    )
    validated_files.validated_file(
        name="Install consul-admin",
        dest=one.helper,
        content=HELPER.read_text(),
        mode="0755",
        check=["python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", "{candidate}"],
    )


def _run_server(one: plan.Server, secrets: Secrets) -> None:
    configuration = operations.configuration(name=f"Configure {one.instance}", server=one)
    # Consul wants the 32 bytes in base64; they are kept as hexadecimal digits.
    key = base64.b64encode(bytes.fromhex(secrets[CONSUL_GOSSIP].reveal())).decode()
    placed = operations.secret_configuration(
        name=f"Give {one.instance} its keys",
        server=one,
        gossip_key=SecretValue(key),
        management=secrets[CONSUL_MANAGEMENT],
        agent=secrets[CONSUL_AGENT],
    )
    unit = systemd_units.unit(
        name=f"Describe {one.instance} to systemd",
        unit=one.unit,
        content=render_template("consul/unit.service.j2", server=one, program=plan.PROGRAM),
    )
    # All at once: none of them works before a majority is there.
    systemd_units.service(name=f"Start {one.instance}", units=one.unit)
    # One after the other, each back in the cluster before the next: the others go on serving.
    systemd_units.service(
        name=f"Restart {one.instance} where it must",
        units=one.unit,
        restart_inputs=one.restart_inputs,
        after=[configuration, placed, unit],
        _serial=len(one.members) > 1,
    )
    systemd_units.service(
        name=f"Have {one.instance} read its certificates", units=one.unit, reload_inputs=one.reload_inputs
    )
    _make_access(one, secrets, [configuration, placed, unit])


def _make_access(one: plan.Server, secrets: Secrets, after: list[OperationMeta]) -> None:
    """Policies and tokens; the first server makes them for all."""
    if not one.first:
        return
    tokens = {name: value.reveal() for name, value in secrets.items()}
    described = secret_files.secret_file(
        name=f"Describe who may use {one.service}",
        dest=one.access_file,
        content=SecretValue(json.dumps(plan.describe_access(one, tokens), indent=1) + "\n"),
    )
    operations.access(
        name=f"Make the policies and tokens of {one.service}",
        helper=one.helper,
        path=one.access_file,
        after=[*after, described],
    )
