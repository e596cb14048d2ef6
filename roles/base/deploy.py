"""What every host gets: operators, time, locale, apt, journal limits, security updates, names of its neighbours."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.server import LinuxDistribution, User, Users
from pyinfra.operations import files, server

from groundwork.engine.uploads import UPLOADS
from groundwork.facts.container import InContainer
from groundwork.facts.ledger import Ledger
from groundwork.operations import apt, ledger, systemd_units, validated_files
from groundwork.operations.ledger_items import PREFIXES, merge_items
from groundwork.operations.refusals import refusing
from groundwork.site import Site
from roles.base import plan
from roles.base.operations import compiled_locale, end_sessions, host_lines
from roles.base.settings import HostSettings, read_settings

ROLE = "base"


@deploy("Prepare the host")
def base(site: Site) -> None:
    """Bring the host to the ground that all other roles stand on."""
    with refusing():
        settings = _check_host()
    users = host.get_fact(Users) or {}
    own = _own_accounts(settings, set(users))
    accounts, old = _connecting_accounts(), host.get_fact(Ledger, role=ROLE)
    homes = {name: _home(name, users) for name in settings.operators if name not in accounts}
    items = merge_items(plan.list_items(settings, own, homes), plan.keep_connecting(old, accounts))
    # First, because plain pyinfra's uploads pass through it; `groundwork` makes it when it connects.
    login = str(host.get_fact(User, _sudo=False) or host.data.get("ssh_user") or "root")
    files.directory(name="Make the folder for uploads", path=UPLOADS, user=login, mode="0700")
    ledger.begin(name="Note what base lays down", role=ROLE, items=items)
    for folder in plan.FOLDERS:
        files.directory(name=f"Make {folder}", path=folder, user="root", group="root", mode="0755")
    _set_up_apt(settings)
    _set_up_language(settings)
    host_lines(name="Name the inventory's hosts", lines=plan.list_host_lines(site.topology.hosts))
    _set_up_journal(settings)
    _set_up_clock(settings)
    _set_up_operators(settings, homes)
    end_sessions(name="End the sessions of operators who leave", users=plan.list_leaving(old, items))
    prefixes = (*PREFIXES, *(f"{home}/.ssh/" for home in _former_homes()))
    ledger.finish(name="Remove what base no longer declares", role=ROLE, items=items, prefixes=prefixes)


def _check_host() -> HostSettings:
    """Read the host's settings and refuse a release that is not supported. Raises ProblemError."""
    settings = read_settings(host.data.dict(), host.name)
    release = (host.get_fact(LinuxDistribution) or {}).get("release_meta", {})
    plan.check_release(release.get("ID", ""), release.get("VERSION_CODENAME", ""), settings.release, host.name)
    return settings


def _connecting_accounts() -> set[str]:
    """Accounts this run came in through; whatever is declared, they keep their keys."""
    return {str(host.data.get("ssh_user") or ""), str(host.get_fact(User, _sudo=False) or "")} - {""}


def _own_accounts(settings: HostSettings, present: set[str]) -> list[str]:
    """Operators whose accounts are this role's: it made them earlier, or will, since they do not exist."""
    made = {item.name for item in host.get_fact(Ledger, role=ROLE) if item.kind == "user"}
    return [name for name in settings.operators if name in made or name not in present]


def _home(name: str, users: dict[str, dict[str, str]]) -> str:
    return str(users.get(name, {}).get("home") or f"/home/{name}")


def _former_homes() -> list[str]:
    """Home folders in which this role laid down a list of keys, to be removed with the operator."""
    tail = plan.keys_path("")
    paths = [item.name for item in host.get_fact(Ledger, role=ROLE) if item.kind == "file"]
    return [path.removesuffix(tail) for path in paths if path.startswith("/home/") and path.endswith(tail)]


def _set_up_apt(settings: HostSettings) -> None:
    check = "APT_CONFIG={candidate} apt-config dump >/dev/null"
    validated_files.validated_template(
        name="Set apt's defaults", src="base/apt-defaults.j2", dest=plan.APT_DEFAULTS, data={}, check=check
    )
    apt.packages(name="Install the common packages", packages=plan.list_packages(settings))
    if settings.security_upgrades:
        validated_files.validated_template(
            name="Install security updates daily",
            src="base/security-upgrades.j2",
            dest=plan.UPGRADES,
            data={"settings": settings},
            check=check,
        )


def _set_up_language(settings: HostSettings) -> None:
    server.timezone(name=f"Set the time zone {settings.timezone}", timezone=settings.timezone)
    if settings.locale not in plan.BUILT_IN_LOCALES:
        compiled_locale(name=f"Make the locale {settings.locale}", locale=settings.locale)
    content = f"LANG={settings.locale}\n"
    validated_files.validated_file(name=f"Set the locale {settings.locale}", dest=plan.LOCALE, content=content)


def _set_up_journal(settings: HostSettings) -> None:
    written = validated_files.validated_template(
        name="Limit the journal", src="base/journald.conf.j2", dest=plan.JOURNAL, data={"settings": settings}
    )
    systemd_units.service(
        name="Run the journal with its limits",
        units="systemd-journald.service",
        enabled=None,
        restart_inputs=[plan.JOURNAL],
        after=[written],
    )


def _set_up_clock(settings: HostSettings) -> None:
    written = validated_files.validated_template(
        name="Configure the clock's servers",
        src="base/chrony.conf.j2",
        dest=plan.CHRONY,
        data={"servers": settings.time_servers},
        check=["chronyd", "-p", "-f", "{candidate}"],
    )
    # A container has the clock of its machine: chrony refuses to run there.
    if not host.get_fact(InContainer):
        systemd_units.service(
            name="Keep the clock right", units="chrony.service", restart_inputs=[plan.CHRONY], after=[written]
        )


def _set_up_operators(settings: HostSettings, homes: dict[str, str]) -> None:
    for name, operator in settings.operators.items():
        server.user(name=f"Make the account {name}", user=name, shell="/bin/bash", create_home=True, ensure_home=False)
        if name in homes:
            # It may be left over from an operator of that name with another number.
            files.directory(name=f"Own the home of {name}", path=homes[name], user=name)
            folder = plan.keys_path(homes[name]).rpartition("/")[0]
            files.directory(name=f"Make the key folder of {name}", path=folder, user=name, mode="0700")
            validated_files.validated_file(
                name=f"Set the keys of {name}",
                dest=plan.keys_path(homes[name]),
                content="".join(f"{key}\n" for key in operator.keys),
                user=name,
                mode="0600",
                check=["ssh-keygen", "-l", "-f", "{candidate}"],
            )
        else:
            server.user_authorized_keys(name=f"Add the keys of {name}", user=name, public_keys=operator.keys)
        if operator.sudo:
            validated_files.validated_file(
                name=f"Let {name} become root",
                dest=plan.sudoers_path(name),
                content=plan.render_sudoers(name),
                mode="0440",
                check=["visudo", "-cqf", "{candidate}"],
            )
