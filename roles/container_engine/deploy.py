"""Docker on the hosts whose agent groups run as containers, set up before them and taken away after them."""

from __future__ import annotations

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.facts.server import LinuxDistribution
from pyinfra.operations import server

from groundwork.facts.container import InContainer
from groundwork.facts.ledger import Ledger
from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.ledger_items import Item
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from roles.container_engine import plan
from roles.container_engine.facts import Engine, UserNamespaces
from roles.container_engine.settings import read_settings

# From Docker 23 on it can judge its configuration; before, that it is JSON is all that can be said.
CHECK = (
    'if dockerd --help | grep -q -- --validate; then dockerd --validate --config-file "$1"; '
    'else python3 -m json.tool "$1"; fi >/dev/null'
)


@deploy("Run a container engine")
def container_engine(site: Site) -> None:
    """Set Docker up where containers are declared. What is no longer needed goes with ``retire_container_engine``."""
    with refusing():
        planned = plan.plan_engine(site.topology, host.name)
        settings = read_settings(host.data.dict(), host.name)
        if planned is None:
            return
        state = host.get_fact(Engine)
        if not settings.container_engine_managed:
            if not state.installed:
                message = "there is no engine to leave alone"
                key = f"host {host.name}: container_engine_managed"
                raise ProblemError([Problem(message, key=key, given="False", allowed="True, or a host with Docker")])
            return
        owned = Item("file", plan.CONFIGURATION) in host.get_fact(Ledger, role=plan.ledger_role(site.platform.platform))
        plan.check_owner(state.configuration, owned, host.name)
        obstacle = host.get_fact(UserNamespaces)
        maps_users = plan.choose_mapping(
            settings.container_engine_userns,
            obstacle,
            mapped=state.maps_users or (owned and state.declares_mapping),
            foreign=state.foreign,
            host=host.name,
        )
    if not maps_users and settings.container_engine_userns == "auto":
        host.log(f"users of containers are those of the host (no userns-remap): {obstacle}", logger.warning)
    _set_up(planned, maps_users)


def _set_up(planned: plan.EnginePlan, maps_users: bool) -> None:
    role = plan.ledger_role(planned.platform)
    ledger.begin(name="Note what the container engine lays down", role=role, items=plan.list_items())
    debian = str(host.get_fact(LinuxDistribution)["major"] or "")
    packages = plan.list_packages(debian)
    # Held until it is configured: it would come up with Docker's own defaults.
    apt.packages(name="Install Docker", packages=packages, hold_services=[plan.UNIT, plan.SOCKET])
    rules = validated_files.validated_template(
        name="Install the rules between containers",
        src="container_engine/published-rules.j2",
        dest=plan.RULES,
        data={"pool": planned.pool},
        mode="0755",
        check=["sh", "-n", "{candidate}"],
    )
    configuration = validated_files.validated_file(
        name="Configure Docker",
        dest=plan.CONFIGURATION,
        content=plan.render_configuration(planned, maps_users=maps_users),
        check=["sh", "-c", CHECK, "sh", "{candidate}"],
    )
    content = render_template(
        "container_engine/engine.conf.j2", rules=plan.RULES, in_container=host.get_fact(InContainer)
    )
    unit = systemd_units.dropin(name="Have Docker apply them", unit=plan.UNIT, dropin=plan.DROP_IN, content=content)
    systemd_units.daemon_reload(name="Tell systemd about Docker", units=[plan.UNIT])
    systemd_units.service(
        name="Run Docker",
        # Together: neither starts while the other is masked.
        units=[plan.SOCKET, plan.UNIT],
        restart_inputs=[
            plan.RULES,
            plan.CONFIGURATION,
            f"/etc/systemd/system/{plan.UNIT}.d/{plan.DROP_IN}",
        ],
        after=[rules, configuration, unit],
    )


@deploy("Retire the container engine")
def retire_container_engine(site: Site) -> None:
    """Stop Docker and remove its configuration where no container is declared any more; images and data stay."""
    with refusing():
        planned = plan.plan_engine(site.topology, host.name)
        managed = read_settings(host.data.dict(), host.name).container_engine_managed
    items = plan.list_items() if planned and managed else []
    if not items and Item("file", plan.RULES) in host.get_fact(Ledger, role=plan.ledger_role(site.platform.platform)):
        server.shell(name="Take away the rules between containers", commands=[f"{plan.RULES} remove"])
    ledger.finish(
        name="Remove what the container engine no longer declares",
        role=plan.ledger_role(site.platform.platform),
        items=items,
    )
