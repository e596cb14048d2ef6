"""Timers on the controller host: each runs one pass of the manifest's schedules from the checkout there."""

from __future__ import annotations

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.operations import files

from groundwork.operations import ledger, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from roles.scheduler import plan
from roles.scheduler.facts import Checkout
from roles.scheduler.settings import SchedulerSettings, read_settings


@deploy("Schedule passes")
def scheduler(site: Site) -> None:
    """Lay down a service and a timer for every pass; on hosts that are not the controller, remove them."""
    platform = site.platform.platform
    role = f"scheduler-{platform}"
    with refusing():
        plan.check_platform(site.platform, site.topology)
        passes = plan.plan_passes(site.platform, site.topology, host.name)
        settings = read_settings(host.data.dict(), host.name)
        owner = _find_owner(site, settings) if passes else ""
    items = plan.list_items(platform, passes)
    if not passes:
        ledger.finish(name="Remove what the scheduler laid down", role=role, items=items)
        return
    for name, reason in plan.list_left_out(site.platform).items():
        host.log(f"schedules.{name} gets no timer: {reason}", logger.info)
    ledger.begin(name="Note what the scheduler lays down", role=role, items=items)
    files.directory(name="Make the folder for figures", path=settings.metrics_folder)
    validated_files.validated_template(
        name="Install publish-metrics",
        src="scheduler/publish-metrics.j2",
        dest=plan.publisher_path(platform),
        data={},
        mode="0755",
        check=["sh", "-n", "{candidate}"],
    )
    for one in passes:
        data = {
            "pass_": one,
            "site": site,
            "settings": settings,
            "owner": owner,
            "publisher": plan.publisher_path(platform),
            "state": _on_controller(site, settings, "scheduled"),
            "local": any(other.name == "@local" for other in site.inventory.hosts),
        }
        for kind in ("service", "timer"):
            systemd_units.unit(
                name=f"Install {one.unit}.{kind}",
                unit=f"{one.unit}.{kind}",
                content=render_template(f"scheduler/pass.{kind}.j2", **data),
            )
    units = [f"{one.unit}.{kind}" for one in passes for kind in ("service", "timer")]
    systemd_units.daemon_reload(name="Let systemd read the passes", units=units)
    systemd_units.service(name="Wait for the passes' times", units=[f"{one.unit}.timer" for one in passes])
    ledger.finish(name="Remove what the scheduler no longer declares", role=role, items=items)


def _find_owner(site: Site, settings: SchedulerSettings) -> str:
    """The account that owns the checkout. Raises ProblemError where there is no checkout to run."""
    found = host.get_fact(Checkout, path=settings.controller_checkout, environment=site.environment)
    if found["usable"]:
        return found["owner"]
    told = f"there is no checkout with gw and inventories/{site.environment}.py"
    allowed = "put the project there (docs/roles/scheduler.md), or set controller_checkout"
    given = settings.controller_checkout
    raise ProblemError([Problem(told, f"host {host.name}", key="controller_checkout", given=given, allowed=allowed)])


def _on_controller(site: Site, settings: SchedulerSettings, part: str) -> str:
    """A path of the environment's state as the controller host has it: below its own checkout."""
    folder = site.state_folder
    try:
        return f"{settings.controller_checkout}/{folder.relative_to(site.root)}/{part}"
    except ValueError:
        return f"{folder}/{part}"
