"""Hardens a host by its level, or puts back what was there before."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.server import User

from groundwork.facts.ledger import Ledger
from groundwork.operations import ledger, validated_files
from groundwork.operations.ledger_items import PREFIXES, Item
from groundwork.operations.refusals import refusing
from groundwork.report.hardening import Level
from groundwork.site import Site
from roles.hardening import plan
from roles.hardening.catalogue import ACCESS
from roles.hardening.control import View
from roles.hardening.controls.authentication import PROFILES
from roles.hardening.facts import Answers, Questions
from roles.hardening.operations import controls, needed_packages, originals_restored
from roles.hardening.settings import read_settings

ROLE = "hardening"
# Besides the usual ones: where the role's own files lie.
OWN = (*PREFIXES, "/etc/modprobe.d/", "/etc/audit/rules.d/", "/etc/fail2ban/", "/etc/aide/", "/etc/security/",
       "/etc/profile.d/")  # fmt: skip


@deploy("Harden the host")
def hardening(site: Site, default: Level | None = None) -> None:
    """Bring the controls of the host's level about; ``default`` is the level where its data name none.

    Without a level the host is left as it is, hardened or not.
    """
    with refusing():
        settings = read_settings(host.data.dict(), host.name)
        if settings.hardening_revert:
            _revert()
            return
        level = settings.hardening_level or default
        if level is None:
            return
        view = _view(site, list(settings.controllers))
        enforced = plan.list_enforced(level, view, settings.waivers())
        plan.check_login(enforced, view, host.name)
    groups = plan.group_order(enforced)
    _install_switch()
    files = [file.path for file in plan.assemble(enforced, view)]
    # A profile of PAM leaves by way of pam-auth-update alone: one that is not wanted any more stays until a revert.
    items = [Item("file", path) for path in files if not path.startswith(f"{PROFILES}/")]
    ledger.begin(name="Note what hardening lays down", role=ROLE, items=items)
    packages = {name for c in enforced for requirement in c.requires for name in requirement.packages(view)}
    needed_packages(name="Install what the controls need", packages=sorted(packages))
    for name, chosen in groups.items():
        if name not in ACCESS:
            controls(name=f"Harden {name}", group=name, controls=chosen, view=view)
    access = [control for name in ACCESS for control in groups.get(name, [])]
    if access:
        controls(name="Harden who may log in, on trial", group="access", controls=access, view=view, switch=plan.SWITCH)
    ledger.finish(name="Remove what hardening no longer lays down", role=ROLE, items=items, prefixes=OWN)


def _view(site: Site, controllers: list[str]) -> View:
    workloads = plan.list_workloads(site.topology, host.name, site.platform.machines)
    answers = host.get_fact(Answers, questions=Questions([("host", ""), ("tree", "")]))
    login = str(host.get_fact(User, _sudo=False) or host.data.get("ssh_user") or "")
    return plan.make_view(answers, workloads, login, controllers)


def _install_switch() -> None:
    validated_files.validated_template(
        name="Install access-switch",
        src="hardening/access-switch.j2",
        dest=plan.SWITCH,
        data={},
        mode="0755",
        check=["sh", "-n", "{candidate}"],
    )


def _revert() -> None:
    _install_switch()
    originals_restored(name="Put back what was there before", switch=plan.SWITCH)
    if host.get_fact(Ledger, role=ROLE):
        ledger.finish(name="Remove what hardening laid down", role=ROLE, items=[], prefixes=OWN)
