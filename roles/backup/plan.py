"""What of the backups a host carries: its jobs, and the repositories that it keeps for others. Pure."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from groundwork.addresses import join
from groundwork.authority import paths
from groundwork.backup import layout
from groundwork.manifest.platform import Platform
from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology import backups
from groundwork.topology.backups import Job, Repository
from groundwork.topology.model import Topology
from roles.backup.servers import describe_server

PACKAGES = ("restic", "python3", "openssl")


@dataclass(frozen=True)
class HostPlan:
    """Everything that one host has of the backups."""

    jobs: tuple[Job, ...]
    kept: tuple[Repository, ...]
    """Repositories that lie on this host."""
    items: tuple[str, ...]
    """Items whose sets they hold."""

    @property
    def packages(self) -> list[str]:
        """What has to be installed."""
        return [*PACKAGES, *(["rclone"] if self.kept else [])] if self.jobs or self.kept else []

    @property
    def secrets(self) -> list[str]:
        """Secrets that this host must have as files for root."""
        names = [one.encryption_secret for job in self.jobs for one in job.repositories]
        names += [backups.login_secret(j.item) for j in self.jobs if any(one.host for one in j.repositories)]
        names += [one.encryption_secret for one in self.kept]
        return list(dict.fromkeys(names))


def plan_host(platform: Platform, topology: Topology, host: str) -> HostPlan:
    """Return what one host carries."""
    repositories = backups.list_repositories(platform, topology.inventory)
    kept = tuple(one for one in repositories if one.host == host)
    _check_addresses(platform, topology)
    return HostPlan(backups.jobs_on(platform, topology, host), kept, backups.list_logins(platform))


def _check_addresses(platform: Platform, topology: Topology) -> None:
    """Raise ProblemError for hosts without an IP address: what jobs and servers may talk to is said by addresses."""
    names = {job.host for job in backups.list_jobs(platform, topology) for one in job.repositories if one.host}
    names |= {one.host for one in backups.list_repositories(platform, topology.inventory) if one.host}
    problems = []
    for host in topology.hosts:
        try:
            ipaddress.ip_address(host.address if host.name in names else "127.0.0.1")
        except ValueError:
            told = "backups need the IP address of this host"
            problems.append(Problem(told, key=f"host {host.name}: address", given=host.address))
    if problems:
        raise ProblemError(problems)


def describe_job(platform: Platform, topology: Topology, job: Job, version: str) -> str:
    """Settings of one job for the program on its host, as JSON."""
    name = platform.platform
    places = [_describe_place(name, job.item, one) for one in job.repositories]
    content = _describe_item(platform, topology, job.item, version) | {
        "host": job.host,
        "places": places,
        "paths": list(job.paths),
        "servers": [describe_server(name, node) for node in job.nodes],
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def describe_kept(platform: Platform, topology: Topology, one: Repository, item: str, version: str) -> str:
    """Settings by which the host that keeps a repository checks and thins out one item there, as JSON."""
    secret = layout.credential(platform.platform, one.encryption_secret)
    place = {"name": one.name, "location": f"{one.path}/{item}", "encryption_file": secret}
    content = _describe_item(platform, topology, item, version) | {
        "host": one.host,
        "places": [place],
        "paths": [],
        "servers": [],
        "account": layout.ACCOUNT,
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _describe_item(platform: Platform, topology: Topology, item: str, version: str) -> dict[str, Any]:
    assert platform.backup is not None
    declared = platform.backup.items[item]
    name = platform.platform
    jobs = [job for job in backups.list_jobs(platform, topology) if job.item == item]
    return {
        "environment": topology.environment,
        "platform": name,
        "item": item,
        "kind": declared.what,
        "service": declared.service or "",
        "uri": f"spiffe://{topology.environment}/{name}/{backups.CLIENT}",
        "hosts": [job.host for job in jobs],
        "schedule": declared.schedule,
        "retention": declared.retention.model_dump(),
        "certificate": paths.certificate(name, backups.CLIENT),
        "key": paths.key(name, backups.CLIENT),
        "authority": paths.bundle(name),
        "version": version,
        "state": layout.state_folder(name),
    }


def _describe_place(platform: str, item: str, one: Repository) -> dict[str, str]:
    place = {"name": one.name, "encryption_file": layout.credential(platform, one.encryption_secret)}
    if one.kind == "directory":
        return place | {"location": f"{one.path}/{item}"}
    login = layout.credential(platform, backups.login_secret(item))
    # The item is both the client's name and its folder there: each client reaches its own and no other.
    return place | {
        "location": f"rest:https://{join(one.address, one.port)}/{item}/",
        "login_file": login,
        "user": item,
    }


def render_logins(passwords: Iterable[tuple[str, str]]) -> str:
    """An htpasswd file. SHA-1 is no weakness here: the passwords are generated, 32 characters and more."""
    lines = [f"{name}:{{SHA}}{base64.b64encode(hashlib.sha1(p.encode()).digest()).decode()}" for name, p in passwords]
    return "\n".join(lines) + "\n"


def list_addresses(job: Job, own: str) -> list[str]:
    """Addresses that a job may talk to besides the host itself."""
    return sorted({one.address for one in job.repositories if one.address} | {own})


def list_writable(job: Job) -> list[str]:
    """Folders that a job may write to besides its own."""
    return [f"{one.path}" for one in job.repositories if one.kind == "directory"]


def list_items(platform: str, plan: HostPlan) -> list[Item]:
    """What is removed when it is no longer declared: no data, no repository, and no package."""
    if not plan.jobs and not plan.kept:
        return []
    items = [Item("directory", layout.library(platform)), Item("directory", layout.settings_folder(platform))]
    items += [Item("file", layout.credential(platform, name)) for name in plan.secrets]
    for job in plan.jobs:
        service, timer = layout.job_units(platform, job.item)
        items += [Item("unit", timer), Item("unit", service)]
    if plan.kept:
        items += [Item("file", layout.logins(platform, one.name)) for one in plan.kept]
        items += [Item("unit", name) for name in layout.keeper_units(platform, [one.name for one in plan.kept])]
    return list(dict.fromkeys(items))
