"""What ``base`` lays down on one host, decided without looking at it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from groundwork.addresses import is_address
from groundwork.inventory import InventoryHost
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from roles.base.settings import HostSettings

SUPPORTED = {"bookworm": "12", "trixie": "13"}
APT_DEFAULTS = "/etc/apt/apt.conf.d/51-groundwork-defaults"
UPGRADES = "/etc/apt/apt.conf.d/52-groundwork-security-upgrades"
JOURNAL = "/etc/systemd/journald.conf.d/50-groundwork.conf"
CHRONY = "/etc/chrony/chrony.conf"
LOCALE = "/etc/default/locale"
FOLDERS = ("/etc/groundwork", "/var/lib/groundwork", "/usr/local/lib/groundwork")
BUILT_IN_LOCALES = ("C", "POSIX", "C.UTF-8")

HOSTS_BEGIN = "# BEGIN hosts of the inventory"
HOSTS_END = "# END hosts of the inventory"


def check_release(distribution: str, codename: str, expected: str | None, host: str) -> None:
    """Raise ProblemError unless the host runs a supported Debian, and the expected one where that is declared.

    ``distribution`` and ``codename`` are ID and VERSION_CODENAME of the host's /etc/os-release.
    """
    supported = ", ".join(f"Debian {number} ({name})" for name, number in SUPPORTED.items())
    given = f"{distribution or 'unknown'} {codename}".strip()
    if distribution != "debian" or codename not in SUPPORTED:
        raise ProblemError(
            [Problem("does not run a supported release", file=f"host {host}", given=given, allowed=supported)]
        )
    if expected and codename != expected:
        problem = Problem("runs another release than declared", f"host {host}", 0, "release", codename, expected)
        raise ProblemError([problem])


def sudoers_path(operator: str) -> str:
    """Where an operator's right to become root stands; sudo skips names with a dot, accounts have none."""
    return f"/etc/sudoers.d/50-groundwork-{operator}"


def render_sudoers(operator: str) -> str:
    """The line that lets an operator become root without a password."""
    return f"{operator} ALL=(ALL:ALL) NOPASSWD: ALL\n"


def list_packages(settings: HostSettings) -> list[str]:
    """Debian packages that every host gets."""
    packages = ["ca-certificates", "chrony", "python3", "sudo"]
    packages += ["unattended-upgrades"] if settings.security_upgrades else []
    packages += ["locales"] if settings.locale not in BUILT_IN_LOCALES else []
    return packages


def list_items(settings: HostSettings, created: Iterable[str], homes: dict[str, str]) -> list[Item]:
    """What is removed when it is no longer declared.

    ``created`` are the operators whose accounts this role made, or will make; an account that was there before
    it was declared, the one we are connected as among them, is nobody's to remove. ``homes`` are the home folders
    of the operators whose list of keys is this role's.
    """
    items = [Item("file", APT_DEFAULTS), Item("file", JOURNAL)]
    items += [Item("file", UPGRADES)] if settings.security_upgrades else []
    for name, operator in settings.operators.items():
        items += [Item("file", sudoers_path(name))] if operator.sudo else []
    items += [Item("file", keys_path(home)) for home in homes.values() if home.startswith("/home/")]
    items += [Item("user", name) for name in created if name in settings.operators]
    return items


def keep_connecting(old: Iterable[Item], accounts: Iterable[str]) -> list[Item]:
    """What is in the ledger and lets this very run in: it stays, even where it is no longer declared.

    ``accounts`` are those we are connected by. Without this, un-declaring the operator who runs the deploy would
    take the account away under their feet.
    """
    kept: list[Item] = []
    for name in accounts:
        own = {Item("user", name), Item("file", sudoers_path(name)), Item("file", keys_path(f"/home/{name}"))}
        kept += [item for item in old if item in own]
    return kept


def list_leaving(old: Iterable[Item], items: Iterable[Item]) -> list[str]:
    """The accounts that this run will remove."""
    kept = set(items)
    return [item.name for item in old if item.kind == "user" and item not in kept]


def keys_path(home: str) -> str:
    """An account's list of accepted keys."""
    return f"{home}/.ssh/authorized_keys"


def list_host_lines(hosts: Iterable[InventoryHost]) -> list[str]:
    """Lines for /etc/hosts: each host's address, its name, and the name's first label where it has several."""
    lines = []
    for host in hosts:
        name = host.name.removeprefix("@ssh/")
        if not is_address(host.address) or is_address(name) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name):
            continue
        short = name.partition(".")[0]
        lines.append(f"{host.address} {name}" + (f" {short}" if short != name else ""))
    return lines


def place_host_lines(text: str, lines: Iterable[str]) -> str:
    """Return the text of /etc/hosts with our block of lines first, everything else as it was.

    First, because the first address found for a name is the one used: Debian's installer gives a host's own
    name the address 127.0.1.1, where no service of ours listens.
    """
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line == HOSTS_BEGIN:
            inside = True
        elif inside and line == HOSTS_END:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        # The end mark is gone, so what follows the begin mark may be somebody's own: keep all of it.
        kept = [line for line in text.splitlines() if line != HOSTS_BEGIN]
    return "\n".join([HOSTS_BEGIN, *lines, HOSTS_END, *kept]) + "\n"
