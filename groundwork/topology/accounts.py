"""System accounts of a platform: who runs what, and so who owns which certificate's key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# useradd(8): user names are at most 32 characters long.
LONGEST_USER = 32
NOLOGIN = "/usr/sbin/nologin"


@dataclass(frozen=True, order=True)
class SystemUser:
    """A system user with a group of the same name, as ``useradd --system`` makes it."""

    name: str
    home: str = "/nonexistent"
    shell: str = NOLOGIN


ROOT = SystemUser("root", "/root", "/bin/bash")

# The accounts that Debian's packages make when they are missing, with the same homes and shells: a package that finds
# its account keeps it (postinst of redis-server, postgresql-common, nats-server, prometheus in Debian 12 and 13).
SERVICE_USERS = {
    "redis": SystemUser("redis", "/var/lib/redis"),
    "postgresql": SystemUser("postgres", "/var/lib/postgresql", "/bin/bash"),
    "pgbouncer": SystemUser("postgres", "/var/lib/postgresql", "/bin/bash"),
    "nats": SystemUser("nats"),
    "consul": SystemUser("consul", "/var/lib/consul"),
    "journal": SystemUser("systemd-journal-remote", "/"),
    "prometheus": SystemUser("prometheus", "/var/lib/prometheus"),
    # No package of Debian's: ours alone.
    "phoenix": SystemUser("phoenix"),
    "backup-repository": SystemUser("groundwork-backup"),
    "pgbackrest": SystemUser("pgbackrest"),
}


def user_name(platform: str, group: str) -> str:
    """System user of an agent group; cut to 32 characters, with a digest that keeps two long names apart."""
    name = f"{platform}-{group}"
    if len(name) <= LONGEST_USER:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: LONGEST_USER - 7]}-{digest}"


def group_user(platform: str, group: str) -> SystemUser:
    """The account that the processes of an agent group run as."""
    return SystemUser(user_name(platform, group))


def service_user(kind: str) -> SystemUser:
    """The account that servers of a kind run as (``redis``, ``postgresql``, ``pgbouncer``, ...); root otherwise."""
    return SERVICE_USERS.get(kind, ROOT)
