"""References from objectives, trials, workflows, backups, schedules and the lab to what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from groundwork.manifest.backup import Backup
from groundwork.manifest.names import Names, unknown_name
from groundwork.manifest.observability import Observability
from groundwork.manifest.platform import Platform
from groundwork.problems import Problem

_KINDS = {
    "groups": "group",
    "agents": "agent",
    "categories": "category",
    "services": "service",
    "exposure": "site of exposure",
}


def check_references(platform: Platform, names: Names) -> Iterator[Problem]:
    """Yield every reference to a name that the manifest does not declare."""
    known = {
        "groups": names.groups,
        "agents": names.agents,
        "categories": names.categories,
        "services": names.services,
        "exposure": set(platform.exposure),
    }
    aimed: list[tuple[str, BaseModel]] = [(f"objectives.{n}", o) for n, o in platform.objectives.items()]
    aimed += [(f"trials.loads.{n}", load) for n, load in platform.trials.loads.items()]
    aimed += [(f"trials.faults.{n}", fault) for n, fault in platform.trials.faults.items()]
    aimed += [(f"workflows.{n}", workflow) for n, workflow in platform.workflows.items()]
    for key, part in aimed:
        for field, kind in _KINDS.items():
            for index, target in enumerate(getattr(part, field, ())):
                if target not in known[field]:
                    yield unknown_name(kind, f"{key}.{field}.{index}", target, known[field])
    for name, schedule in platform.schedules.items():
        if schedule.window and schedule.window not in platform.maintenance:
            yield unknown_name("window", f"schedules.{name}.window", schedule.window, platform.maintenance)
    if platform.backup:
        yield from _check_backup(platform.backup, platform, names)
    yield from _check_observability(platform.observability, names)
    yield from _check_lab(platform)


def _check_backup(backup: Backup, platform: Platform, names: Names) -> Iterator[Problem]:
    for name, item in backup.items.items():
        here = f"backup.items.{name}"
        if item.what in ("postgresql", "redis", "nats"):
            fitting = [n for n, service in platform.services.items() if service.kind == item.what]
            if item.service is None:
                allowed = ", ".join(fitting) or "none is declared"
                yield Problem("is required and missing", key=f"{here}.service", allowed=allowed)
            elif item.service not in fitting:
                yield unknown_name(f"{item.what} service", f"{here}.service", item.service, fitting)
        elif item.what in ("files", "volumes") and not (item.paths and item.hosts):
            yield Problem(f"{item.what} need hosts and paths", key=here, allowed="hosts: GROUP, paths: [/...]")
    repositories = [("backup.repository", backup.repository)]
    repositories += [(f"backup.copies.{index}", copy) for index, copy in enumerate(backup.copies)]
    for key, repository in repositories:
        secret = repository.credentials_secret
        if secret and secret not in names.secrets:
            yield unknown_name("secret", f"{key}.credentials_secret", secret, names.secrets)
        missing = {"host": ("hosts",), "s3": ("endpoint", "bucket", "credentials_secret")}.get(repository.kind, ())
        for field in missing:
            if getattr(repository, field) is None:
                yield Problem(f"is required for kind {repository.kind}", key=f"{key}.{field}")


def _check_observability(observability: Observability, names: Names) -> Iterator[Problem]:
    alertmanager = observability.alertmanager
    for name, receiver in (alertmanager.receivers if alertmanager else {}).items():
        if receiver.secret not in names.secrets:
            key = f"observability.alertmanager.receivers.{name}.secret"
            yield unknown_name("secret", key, receiver.secret, names.secrets)
    secret = observability.error_tracking_secret
    if secret and secret not in names.secrets:
        yield unknown_name("secret", "observability.error_tracking_secret", secret, names.secrets)


def _check_lab(platform: Platform) -> Iterator[Problem]:
    """Every inventory group of the platform needs a host in its lab; so a mistyped group does not stay unseen."""
    offered = {group for host in platform.lab.hosts.values() for group in host.groups}
    for key, group in _host_groups(platform):
        if group not in offered:
            yield unknown_name("inventory group among lab.hosts", key, group, offered)


def _host_groups(platform: Platform) -> Iterator[tuple[str, str]]:
    for group in platform.machines:
        yield f"machines.{group}", group
    parts: list[tuple[str, Any]] = [(f"groups.{n}", part) for n, part in platform.groups.items()]
    parts += [(f"services.{n}", part) for n, part in platform.services.items()]
    parts += [(f"exposure.{n}", part) for n, part in platform.exposure.items()]
    parts += [(f"utilisation.{index}", part) for index, part in enumerate(platform.utilisation)]
    parts += [(f"observability.{n}", part) for n, part in platform.observability if isinstance(part, BaseModel)]
    if platform.backup:
        parts += [("backup.repository", platform.backup.repository)]
        parts += [(f"backup.copies.{index}", copy) for index, copy in enumerate(platform.backup.copies)]
        parts += [(f"backup.items.{n}", item) for n, item in platform.backup.items.items()]
    for key, part in parts:
        hosts = getattr(part, "hosts", None)
        if isinstance(hosts, str):
            yield f"{key}.hosts", hosts
