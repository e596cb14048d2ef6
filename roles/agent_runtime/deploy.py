"""Applies the plan: the runtime package, its units and what they read, on every host."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import server

from groundwork.operations import apt, ledger, secret_files, systemd_units, validated_files
from groundwork.operations.ledger_items import Item
from groundwork.operations.rendering import render_template
from groundwork.problems import Problem, ProblemError
from groundwork.site import Site
from roles.agent_runtime import image_operations, operations
from roles.agent_runtime.accounts import package_name
from roles.agent_runtime.facts import LIBRARY, HostSystem, SignatureCheck
from roles.agent_runtime.generation import Generation, build_generation
from roles.agent_runtime.images import Image, base_tag, key_path, list_images
from roles.agent_runtime.plan import HostPlan, plan_host
from roles.agent_runtime.sources import Target
from roles.agent_runtime.wheelhouse import Wheelhouse, prepare_wheelhouse

ONHOST = Path(__file__).parent / "onhost"


@deploy("Agents")
def agent_runtime(site: Site) -> None:
    """Bring the host's agents to what the platform declares; remove them where it declares none."""
    try:
        plan = plan_host(site.platform, site.topology, host.name)
        prepared = _prepare(site, plan) if plan.processes else None
        _check_signatures(plan)
    except ProblemError as error:
        raise PyinfraError(str(error)) from None
    items = _list_items(plan, *prepared[1:]) if prepared else []
    role = f"agent_runtime-{plan.platform}"
    ledger.begin(name="Note what the agents lay down", role=role, items=items)
    if prepared:
        _apply(site, plan, *prepared)
    ledger.finish(name="Remove what the agents no longer declare", role=role, items=items)
    needed = [name for one in (prepared[2] if prepared else {}).values() for name in (one.reference, one.accepted)]
    image_operations.surplus_images(name="Remove images that are left over", platform=plan.platform, needed=needed)


def _prepare(site: Site, plan: HostPlan) -> tuple[Wheelhouse, Generation, dict[str, Image]]:
    system = host.get_fact(HostSystem)
    target = Target(system["python"], system["machine"])
    wheelhouse = prepare_wheelhouse(site.root, site.platform, site.folder, target)
    images = list_images(site.root, site.folder, plan, wheelhouse, system["debian"])
    references = {group: image.reference for group, image in images.items()}
    return wheelhouse, build_generation(site.platform, plan, wheelhouse.release, system["systemd"], references), images


def _check_signatures(plan: HostPlan) -> None:
    """Raise ProblemError where a signature is to be checked and the host has no program that does."""
    signed = [group for group in plan.groups if group.container and group.container.signature_key]
    if signed and not host.get_fact(SignatureCheck):
        message = (
            "cosign is not installed on the host, and its Debian has no package of it: the signature stays unchecked"
        )
        allowed = "cosign at /usr/local/bin/cosign, Debian 13, or no signature_key"
        raise ProblemError(
            [Problem(message, key=f"groups.{g.name}.container.signature_key", allowed=allowed) for g in signed]
        )


def _list_items(plan: HostPlan, generation: Generation, images: dict[str, Image]) -> list[Item]:
    """Everything the role puts on the host, in the order in which it does."""
    platform = plan.platform
    # Groups that share a card by MPS have one account together.
    names = list(dict.fromkeys(group.user for group in plan.groups))
    users = [Item("user", name) for name in names]
    accounts = [Item("group", name) for name in names]
    folders = [f"{LIBRARY}/{package_name(platform)}", f"/opt/groundwork/{platform}"]
    folders.append(f"/etc/groundwork/{platform}/generations")
    credentials = [f"/etc/groundwork/{platform}/credentials/{name}" for name in plan.credentials]
    links = [f"/etc/groundwork/{platform}/{name}" for name in ("proven", "generation", *generation.links)]
    units = [name for name in generation.unit_files if "/" not in name]
    dropins = [f"/etc/systemd/system/{name.partition('/')[0]}" for name in generation.unit_files if "/" in name]
    items = [*accounts, *users, *(Item("directory", path) for path in [*folders, *dropins])]
    keys = dict.fromkeys(key_path(platform, image) for image in images.values() if image.key)
    items += [Item("file", path) for path in [*credentials, *keys]]
    items += [Item("link", path) for path in links]
    items += [Item("unit", unit) for unit in units]
    if plan.log_files:
        name = _logrotate_unit(platform)
        items.append(Item("file", f"/etc/groundwork/{platform}/logrotate.conf"))
        items += [Item("unit", f"{name}.service"), Item("unit", f"{name}.timer")]
    return items


def _apply(
    site: Site, plan: HostPlan, wheelhouse: Wheelhouse, generation: Generation, images: dict[str, Image]
) -> None:
    platform = plan.platform
    programs = ["python3", "python3-venv", *(["logrotate"] if plan.log_files else [])]
    apt.packages(name="Install Python", packages=programs)
    for user in dict.fromkeys(group.user for group in plan.groups):
        server.user(
            name=f"Create the user {user}",
            user=user,
            system=True,
            create_home=False,
            ensure_home=False,
            home="/nonexistent",
            shell="/usr/sbin/nologin",
        )
    for source in sorted(ONHOST.glob("*.py")):
        validated_files.validated_file(
            name=f"Install the release switch ({source.stem})",
            dest=f"{LIBRARY}/{package_name(platform)}/{source.name}",
            content=source.read_text("utf-8"),
        )
    operations.release(name=f"Install release {wheelhouse.release}", platform=platform, wheelhouse=wheelhouse)
    if images:
        _make_images(platform, images, wheelhouse.release)
    credentials: list[OperationMeta] = [
        secret_files.secret_file(
            name=f"Write the credential {name}",
            dest=f"/etc/groundwork/{platform}/credentials/{name}",
            content=site.secret(name),
        )
        for name in plan.credentials
    ]
    operations.generation(name="Stage units and configuration", platform=platform, generation=generation)
    operations.switch(
        name="Switch to the release and wait until its agents are ready",
        platform=platform,
        generation=generation,
        after=credentials,
    )
    if plan.log_files:
        _rotate_logs(plan)


def _make_images(platform: str, images: dict[str, Image], release: str) -> None:
    base = base_tag(host.get_fact(HostSystem)["debian"])
    sources = {image.container.source for image in images.values()}
    if "runtime" in sources:
        apt.packages(name="Install what makes images", packages=["mmdebstrap"])
        image_operations.base_image(name="Make the base image", platform=platform, tag=base)
    if any(image.key for image in images.values()) and host.get_fact(SignatureCheck) == "cosign":
        apt.packages(name="Install what checks signatures", packages=["cosign"])
    for group, image in images.items():
        image_operations.image(
            name=f"Have the image of {group}", platform=platform, image=image, base=base, release=release
        )


def _logrotate_unit(platform: str) -> str:
    return f"groundwork-logrotate-{platform}"


def _rotate_logs(plan: HostPlan) -> None:
    """Debian's own logrotate runs once a day, which is too seldom for a limit by size."""
    name = _logrotate_unit(plan.platform)
    path = f"/etc/groundwork/{plan.platform}/logrotate.conf"
    validated_files.validated_template(
        name="Write the limits of log files",
        src="agent_runtime/logrotate.conf.j2",
        dest=path,
        data={"files": plan.log_files, "timer": f"{name}.timer"},
        check=["logrotate", "--debug", "--state", "/dev/null", "{candidate}"],
    )
    data = {"platform": plan.platform, "configuration": path}
    for kind in ("service", "timer"):
        systemd_units.unit(
            name=f"Install {name}.{kind}",
            unit=f"{name}.{kind}",
            content=render_template(f"agent_runtime/logrotate.{kind}.j2", **data),
        )
    systemd_units.service(name="Rotate log files every 15 minutes", units=f"{name}.timer")
