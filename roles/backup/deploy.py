"""Backups: jobs with their timers on the hosts that have data, servers and retention on those that keep them."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files, server

import groundwork
from groundwork.authority import paths
from groundwork.backup import layout
from groundwork.facts.systemd_units import UnitState, UnitStates
from groundwork.operations import apt, ledger, secret_files, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_template
from groundwork.secrets.value import SecretValue
from groundwork.site import Site
from groundwork.topology import backups
from groundwork.topology.backups import Job, Repository
from roles.backup import plan

ONHOST = Path(__file__).parent / "onhost"
METRICS = "/var/lib/prometheus/node-exporter"
"""Where node_exporter's textfile collector looks (Debian's package)."""


@deploy("Back up")
def backup(site: Site) -> None:
    """Lay down the host's jobs and the repositories it keeps, and take away what is no longer declared; sets stay."""
    platform = site.platform.platform
    role = f"backup-{platform}"
    with refusing():
        planned = plan.plan_host(site.platform, site.topology, host.name)
        values = {name: site.secret(name) for name in planned.secrets}
        logins = [(name, site.secret(backups.login_secret(name))) for name in planned.items] if planned.kept else []
    items = plan.list_items(platform, planned)
    if planned.jobs or planned.kept:
        for place, reason in backups.list_left_out(site.platform).items():
            host.log(f"{place}: {reason}", logger.warning)
        ledger.begin(name="Note what backup lays down", role=role, items=items)
        _install(platform, planned, values)
        for one in planned.kept:
            _keep(site, one, planned.items, logins)
        if planned.kept:
            _thin_out(site, planned)
        for job in planned.jobs:
            _schedule(site, job)
    ledger.finish(name="Remove what backup no longer declares", role=role, items=items)


@deploy("Load certificates of backup repositories")
def backup_certificates(site: Site) -> None:
    """Have the host's repository servers take up certificates and trust again; nothing else is looked at."""
    platform = site.platform.platform
    with refusing():
        planned = plan.plan_host(site.platform, site.topology, host.name)
    for one in planned.kept:
        unit = layout.server_unit(platform, one.name)
        if host.get_fact(UnitStates, units=[unit]).get(unit, UnitState()).is_active:
            _run_server(platform, one, unit, [])


def _install(platform: str, planned: plan.HostPlan, values: dict[str, SecretValue]) -> None:
    apt.packages(name="Install what backups are made with", packages=planned.packages)
    for source in sorted(ONHOST.glob("*.py")):
        validated_files.validated_file(
            name=f"Install the backup program ({source.stem})",
            dest=f"{layout.library(platform)}/{source.name}",
            content=source.read_text("utf-8"),
        )
    for name, value in values.items():
        secret_files.secret_file(name=f"Place {name}", dest=layout.credential(platform, name), content=value)
    folder = f"/var/lib/{layout.STATE}"
    files.directory(name="Make the folder of what backups remember", path=folder, mode="0700", user="root")
    files.directory(name="Make that of this platform", path=layout.state_folder(platform), mode="0700", user="root")


def _schedule(site: Site, job: Job) -> None:
    """One job: its settings, its unit and its timer."""
    platform = site.platform.platform
    settings = layout.job_settings(platform, job.item)
    validated_files.validated_file(
        name=f"Describe the backup of {job.item}",
        dest=settings,
        content=plan.describe_job(site.platform, site.topology, job, groundwork.__version__),
        check=["python3", "-m", "json.tool", "{candidate}", "/dev/null"],
    )
    service, timer = layout.job_units(platform, job.item)
    data = {
        "job": job,
        "platform": platform,
        "command": " ".join(layout.command(platform, "run", settings, "--by", "%i")),
        "figures": f"{layout.state_folder(platform)}/{job.item}/groundwork-backup-{platform}-{job.item}.prom",
        "metrics": METRICS,
        "state": layout.STATE,
        "addresses": plan.list_addresses(job, site.inventory.host(host.name).address),
        "writable": plan.list_writable(job),
        "timer_instance": layout.job_instance(platform, job.item, "timer"),
    }
    for unit, template in ((service, "job.service.j2"), (timer, "job.timer.j2")):
        systemd_units.unit(name=f"Install {unit}", unit=unit, content=render_template(f"backup/{template}", **data))
    systemd_units.daemon_reload(name=f"Let systemd read the backup of {job.item}", units=[service, timer])
    systemd_units.service(name=f"Back {job.item} up when it is due", units=timer)


def _keep(site: Site, one: Repository, items: tuple[str, ...], logins: list[tuple[str, SecretValue]]) -> None:
    """The folder of a repository, and the server by which other hosts add to it."""
    platform = site.platform.platform
    # The authority's role makes the account; where only this role is applied, it may not have run yet.
    server.user(
        name="Make the account that keeps backups",
        user=layout.ACCOUNT,
        home="/nonexistent",
        shell="/usr/sbin/nologin",
        system=True,
        create_home=False,
    )
    files.directory(
        name=f"Make the folder of the repository {one.name}",
        path=one.path,
        user=layout.ACCOUNT,
        group=layout.ACCOUNT,
        # Passed through, not read, by the account that keeps PostgreSQL's archives in a folder of its own below.
        mode="0711",
    )
    text = plan.render_logins((name, value.reveal()) for name, value in logins)
    who = secret_files.secret_file(
        name=f"Say who may add to the repository {one.name}",
        dest=layout.logins(platform, one.name),
        content=SecretValue(text),
    )
    for item in items:
        validated_files.validated_file(
            name=f"Describe {item} in the repository {one.name}",
            dest=layout.kept_settings(platform, one.name, item),
            content=plan.describe_kept(site.platform, site.topology, one, item, groundwork.__version__),
        )
    unit = layout.server_unit(platform, one.name)
    content = render_template(
        "backup/repository.service.j2",
        one=one,
        account=layout.ACCOUNT,
        logins=layout.logins(platform, one.name),
        certificate=paths.certificate(platform, backups.SERVER),
        key=paths.key(platform, backups.SERVER),
        authority=paths.bundle(platform),
        peers=_list_peers(site, one),
    )
    described = systemd_units.unit(name=f"Install {unit}", unit=unit, content=content)
    systemd_units.daemon_reload(name=f"Let systemd read {unit}", units=[unit])
    _run_server(platform, one, unit, [who, described])


def _run_server(platform: str, one: Repository, unit: str, inputs: list[OperationMeta]) -> None:
    systemd_units.service(
        name=f"Serve the repository {one.name}",
        units=unit,
        restart_inputs=[
            f"{systemd_units.FOLDER}/{unit}",
            layout.logins(platform, one.name),
            paths.certificate_folder(platform, backups.SERVER),
            paths.bundle(platform),
            "/usr/bin/rclone",
        ],
        after=inputs,
    )


def _list_peers(site: Site, one: Repository) -> list[str]:
    """Addresses of the hosts whose jobs come here."""
    hosts = {job.host for job in backups.list_jobs(site.platform, site.topology)}
    return sorted({site.inventory.host(name).address for name in hosts} | {one.address})


def _thin_out(site: Site, planned: plan.HostPlan) -> None:
    """Retention, where the repositories lie: who adds to them cannot delete."""
    platform = site.platform.platform
    service, timer = layout.retention_units(platform)
    settings = [layout.kept_settings(platform, one.name, item) for one in planned.kept for item in planned.items]
    secrets = list(dict.fromkeys(one.encryption_secret for one in planned.kept))
    data = {
        "platform": platform,
        "account": layout.ACCOUNT,
        "command": " ".join(layout.command(platform, "keep", *settings)),
        "credentials": {name: layout.credential(platform, name) for name in secrets},
        "folders": [one.path for one in planned.kept],
    }
    for unit, template in ((service, "retention.service.j2"), (timer, "retention.timer.j2")):
        systemd_units.unit(name=f"Install {unit}", unit=unit, content=render_template(f"backup/{template}", **data))
    systemd_units.daemon_reload(name="Let systemd read the retention", units=[service, timer])
    systemd_units.service(name="Thin out repositories when it is due", units=timer)
