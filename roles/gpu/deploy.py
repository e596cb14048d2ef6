"""GPU shares: the driver is checked, the cards are laid out, MPS daemons run, and a boot unit restores all of it."""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import server

from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.ledger_items import Item
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.problems import ProblemError
from groundwork.site import Site
from groundwork.topology.sharing import cards_unit, daemon_template, mps_user, run_folder
from roles.gpu import layout, operations, preflight
from roles.gpu.cards import declared_cards
from roles.gpu.facts import Driver, HostDriver
from roles.gpu.plan import HostPlan, plan_host

ONHOST = Path(__file__).parent / "onhost"
LIBRARY = "/usr/local/lib/groundwork"
HELD_PACKAGES = "/etc/apt/apt.conf.d/60groundwork-nvidia"
TEXTFILES = "/var/lib/groundwork/metrics"


@deploy("Share GPUs")
def gpu(site: Site) -> None:
    """Lay out the host's cards for the groups that have a share; take away what is no longer declared."""
    platform = site.platform.platform
    role = f"gpu-{platform}"
    shares = any(process.sharing for process in site.topology.processes_on(host.name))
    driver = host.get_fact(HostDriver, proven=f"/var/lib/groundwork/gpu/{platform}/proven.json")
    carries = bool(driver.proven.get("cards"))
    if not shares and not carries:
        ledger.finish(name="Remove what cards no longer need", role=role, items=[])
        return
    with refusing():
        plan = _plan(site, driver)
    items = _list_items(site) if shares else []
    ledger.begin(name="Note what the cards need", role=role, items=_list_items(site))
    _apply(site, plan, driver)
    ledger.finish(name="Remove what cards no longer need", role=role, items=items)


def _plan(site: Site, driver: Driver) -> HostPlan:
    """Decide the layout from what the host lists. Raises ProblemError for everything that stands in the way."""
    problems = list(preflight.check_driver(driver, host.name))
    if problems:
        raise ProblemError(problems)
    groups = site.inventory.host(host.name).groups
    cards, problems = layout.match_cards(
        declared_cards(site.platform, groups), layout.live_cards(driver.cards, driver.profiles), host.name
    )
    if problems:
        raise ProblemError(problems)
    plan = plan_host(site.platform, site.topology, host.name, cards, layout.read_former(driver.proven))
    problems = list(preflight.check_programs(driver, plan))
    if problems:
        raise ProblemError(problems)
    return plan


def package_name(platform: str) -> str:
    """Name of the Python package that lays cards out."""
    return f"gpu_cards_{platform.replace('-', '_')}"


def settings_path(platform: str) -> str:
    """What is declared about the cards."""
    return f"/etc/groundwork/{platform}/gpu.json"


def metrics_unit(platform: str) -> str:
    """Unit, without its suffix, that writes metrics."""
    return f"groundwork-gpu-metrics-{platform}"


def _list_items(site: Site) -> list[Item]:
    platform = site.platform.platform
    items = [
        Item("directory", f"{LIBRARY}/{package_name(platform)}"),
        Item("directory", run_folder(platform)),
        Item("file", settings_path(platform)),
        Item("file", HELD_PACKAGES),
        Item("unit", daemon_template(platform)),
        Item("unit", cards_unit(platform)),
    ]
    if site.platform.observability.gpu_metrics:
        items += [Item("unit", f"{metrics_unit(platform)}.{kind}") for kind in ("service", "timer")]
    return items


def _apply(site: Site, plan: HostPlan, driver: Driver) -> None:
    platform = site.platform.platform
    apt.packages(name="Install Python", packages=["python3"])
    if any(placement.daemon for placement in plan.placements):
        user = mps_user(platform)
        server.user(
            name=f"Create the user {user.name}",
            user=user.name,
            system=True,
            create_home=False,
            ensure_home=False,
            home=user.home,
            shell=user.shell,
        )
    for source in sorted(ONHOST.glob("*.py")):
        validated_files.validated_file(
            name=f"Install the cards' program ({source.stem})",
            dest=f"{LIBRARY}/{package_name(platform)}/{source.name}",
            content=source.read_text("utf-8"),
        )
    validated_files.validated_template(
        name="Keep the driver from unattended upgrades",
        src="gpu/held-packages.j2",
        dest=HELD_PACKAGES,
        data={},
        check="APT_CONFIG={candidate} apt-config dump >/dev/null",
    )
    document = json.dumps(layout.make_document(platform, plan, driver.proven), indent=1, sort_keys=True) + "\n"
    written = [
        validated_files.validated_file(
            name="Declare the cards' layout", dest=settings_path(platform), content=document
        ),
        *_install_units(platform, driver.has_mps),
    ]
    operations.laid_out(
        name="Lay out the cards",
        package=package_name(platform),
        library=LIBRARY,
        settings=settings_path(platform),
        document=document,
        drain=bool(host.data.get("gpu_drain")),
        after=written,
    )
    # Starting it finds everything in place; at boot it restores the layout before anybody who uses a card.
    systemd_units.service(name="Restore the layout at boot", units=cards_unit(platform))
    if site.platform.observability.gpu_metrics:
        _write_metrics(platform)


def _install_units(platform: str, has_mps: bool) -> list[OperationMeta]:
    data = {
        "platform": platform,
        "package": package_name(platform),
        "library": LIBRARY,
        "settings": settings_path(platform),
        "user": mps_user(platform).name,
        "run_folder": run_folder(platform),
    }
    units = {cards_unit(platform): "gpu/cards.service.j2", daemon_template(platform): "gpu/mps@.service.j2"}
    written = [
        # systemd-analyze refuses a unit whose program is not there.
        systemd_units.unit(
            name=f"Install {unit}",
            unit=unit,
            content=render_template(template, **data),
            check=has_mps or "@" not in unit,
        )
        for unit, template in units.items()
    ]
    systemd_units.daemon_reload(name="Let systemd read the cards' units", units=list(units))
    return written


def _write_metrics(platform: str) -> None:
    """Without an exporter of NVIDIA's: nvidia-smi's figures as a file that the node exporter passes on."""
    name = metrics_unit(platform)
    data = {"package": package_name(platform), "library": LIBRARY, "folder": TEXTFILES, "platform": platform}
    for kind in ("service", "timer"):
        systemd_units.unit(
            name=f"Install {name}.{kind}",
            unit=f"{name}.{kind}",
            content=render_template(f"gpu/metrics.{kind}.j2", **data),
        )
    systemd_units.service(name="Write the cards' metrics twice a minute", units=f"{name}.timer")
