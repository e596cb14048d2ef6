"""What is checked before a host gets its basic settings."""

from __future__ import annotations

from collections.abc import Iterator

from groundwork.preflight.findings import Finding, judge
from groundwork.preflight.questions import Answers
from groundwork.problems import ProblemError
from groundwork.site import Site
from roles.base.settings import read_settings


def check_site(site: Site) -> Iterator[Finding]:
    """The inventory's data of every host."""
    for host in site.inventory.hosts:
        try:
            settings = read_settings(host.data, host.name)
        except ProblemError as error:
            for problem in error.problems:
                yield judge("base.settings", host.name, False, str(problem), "correct group_data or the inventory")
            continue
        evidence = f"{len(settings.operators)} operators, time zone {settings.timezone}, language {settings.locale}"
        yield judge("base.settings", host.name, True, evidence, "")


def ask(site: Site, host: str) -> dict[str, str]:
    """Whether the declared time zone exists, and whether another program holds apt's lock."""
    try:
        zone = read_settings(site.inventory.host(host).data, host).timezone
    except ProblemError:
        zone = "Etc/UTC"
    # Whoever holds it is in /proc/locks by the file's inode; asking takes no lock.
    lock = 'inode=$(stat -c %i /var/lib/dpkg/lock-frontend); grep ":$inode " /proc/locks || true'
    return {"base_zone": f"test ! -d /usr/share/zoneinfo || test -f /usr/share/zoneinfo/{zone}", "base_lock": lock}


def check_host(site: Site, host: str, answers: Answers) -> Iterator[Finding]:
    """Time zone and apt's lock."""
    zone = str(site.inventory.host(host).data.get("timezone") or "Etc/UTC")
    yield judge("base.timezone", host, answers.ok("base_zone"), zone, "timedatectl list-timezones has the names")
    held = answers.lines("base_lock")
    evidence = f"held: {held[0]}" if held else "apt's lock is free"
    yield judge("base.apt_lock", host, not held, evidence, "wait until apt-daily or the other apt has ended")
