"""Which major version of PostgreSQL a host gets, decided before anything changes."""

from __future__ import annotations

from collections.abc import Collection

from groundwork.manifest.services import PostgresqlService
from groundwork.problems import Problem, ProblemError
from groundwork.topology.archives import VERSIONS as RELEASES

POOL_RELEASES = {"12": (1, 18), "13": (1, 24)}
"""Debian's release to its PgBouncer."""
PREPARED_STATEMENTS_SINCE = (1, 21)
"""PgBouncer keeps prepared statements in transaction pooling since this version (its changelog)."""


def choose_version(
    service: str, declared: PostgresqlService, release: str, offered: Collection[int], existing: Collection[int]
) -> int:
    """Return the major version to run.

    ``release`` is Debian's major version, ``offered`` what apt knows besides, ``existing`` the versions that have
    data on the host. Raises ProblemError where the host offers no such version, where it is older than the manifest
    asks for, and where the data belong to another version.
    """
    key = f"services.{service}"
    own = RELEASES.get(release)
    available = sorted({*offered, *([own] if own else [])})
    shown = ", ".join(map(str, available)) or "none"
    version = declared.version or own or max(offered, default=0)
    if version not in available:
        message = f"Debian {release or '(unknown)'} offers no PostgreSQL {version or ''}".rstrip()
        raise ProblemError([Problem(message, key=f"{key}.version", given=str(declared.version), allowed=shown)])
    least = int((declared.minimum_version or "0").split(".")[0])
    if version < least:
        message = f"Debian {release} has PostgreSQL {version}"
        given = str(declared.minimum_version)
        raise ProblemError([Problem(message, key=f"{key}.minimum_version", given=given, allowed=shown)])
    others = sorted(set(existing) - {version})
    if others and version not in existing:
        message = f"the host has data of version {others[-1]} and would run {version}: move it with pg_upgradecluster"
        raise ProblemError([Problem(message, key=f"{key}.version", given=str(version), allowed=str(others[-1]))])
    return version


def keeps_prepared_statements(release: str, installed: str) -> bool:
    """Whether PgBouncer has ``max_prepared_statements``; ``installed`` is its package version, empty where missing."""
    version = tuple(int(part) for part in installed.split("-")[0].split(".")[:2] if part.isdigit())
    return (version or POOL_RELEASES.get(release, (0, 0))) >= PREPARED_STATEMENTS_SINCE
