"""PostgreSQL's archives: pgBackRest's settings and server on both hosts, stanza and timers where backups are made."""

from __future__ import annotations

from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.operation import OperationMeta
from pyinfra.operations import files

from groundwork.authority import paths
from groundwork.operations import apt, ledger, secret_files, systemd_units, validated_files
from groundwork.operations.refusals import refusing
from groundwork.operations.rendering import render_secret, render_template
from groundwork.site import Site
from groundwork.topology.archives import PORT
from roles.backup_postgresql import operations, plan
from roles.backup_postgresql.plan import Side

ONHOST = Path(__file__).parent / "onhost"


@deploy("Back PostgreSQL up")
def backup_postgresql(site: Site) -> None:
    """Set up the host's part in PostgreSQL's archives, and take away what it no longer has but what was archived."""
    name = site.platform.platform
    with refusing():
        plan.check_platform(site.platform, site.topology)
        sides = plan.plan_sides(site.platform, site.topology, host.name)
    role, items = f"backup_postgresql-{name}", plan.list_items(name, sides)
    ledger.begin(name="Note what PostgreSQL's backup lays down", role=role, items=items)
    versions: dict[str, int] = {}
    if sides:
        _prepare_host(name, sides)
    for side in sides:
        versions[side.archive.service] = _configure(site, side)
    remote = [side for side in sides if side.is_remote]
    if remote:
        _run_server(name, remote)
    # Both sides answer by now: an operation of one line begins when all hosts have come to it.
    for side in (one for one in sides if one.keeps and versions[one.archive.service]):
        operations.stanza(
            name=f"Make the archive of {side.archive.service}", side=side, version=versions[side.archive.service]
        )
    for side in (one for one in sides if one.keeps):
        _run_timers(side)
        operations.first_backup(name=f"Begin the first backup of {side.archive.service}", side=side)
    ledger.finish(name="Remove what PostgreSQL's backup no longer declares", role=role, items=items)


@deploy("Load the certificates of PostgreSQL's backup")
def backup_postgresql_certificates(site: Site) -> None:
    """Have the host's pgBackRest server read certificates and trust again; nothing else is looked at."""
    with refusing():
        plan.check_platform(site.platform, site.topology)
        sides = [s for s in plan.plan_sides(site.platform, site.topology, host.name) if s.is_remote]
    if sides:
        systemd_units.reloaded(
            name="Have pgBackRest read its certificates",
            units=plan.server_unit(site.platform.platform),
            inputs=sides[0].certificate_inputs,
        )


def _prepare_host(platform: str, sides: list[Side]) -> None:
    apt.packages(name="Install pgBackRest", packages=["pgbackrest", "python3"])
    library = f"{plan.library_folder(platform)}/{plan.PACKAGE}"
    for source in sorted(ONHOST.glob("*.py")):
        validated_files.validated_file(
            name=f"Install the backups' program ({source.stem})",
            dest=f"{library}/{source.name}",
            content=source.read_text("utf-8"),
        )
    data = {
        "library": plan.library_folder(platform),
        "package": plan.PACKAGE,
        "folder": sides[0].archive.folder,
    }
    validated_files.validated_template(
        name="Install pgbackrest-admin",
        src="backup_postgresql/pgbackrest-admin.j2",
        dest=plan.program_path(platform),
        data=data,
        mode="0755",
        check=["sh", "-n", "{candidate}"],
    )
    files.directory(name="Make the folder of pgBackRest's settings", path=sides[0].archive.folder, mode="0755")
    for account in dict.fromkeys(side.account for side in sides):
        files.directory(
            name=f"Make the folder of pgBackRest's state ({account})",
            path=plan.state_folder(platform, account),
            user=account,
            group=account,
            mode="0750",
        )
    for side in (one for one in sides if one.keeps):
        files.directory(
            name=f"Make the repository of {side.archive.service}",
            path=side.archive.path,
            user=side.account,
            group=side.account,
            mode="0750",
        )
    if any(side.holds_database for side in sides):
        files.directory(name="Make the folder of restores' state", path=plan.restores_folder(platform), mode="0755")


def _configure(site: Site, side: Side) -> int:
    """Write the settings of one archive; return the database's version, 0 where its host cannot say it."""
    database = operations.ask_database(side)
    version = plan.choose_version(side.declared, database.release, database.existing) if database else 0
    if not version or database is None:
        return 0
    one = side.archive
    content = render_secret(
        "backup_postgresql/stanza.conf.j2",
        side=side,
        archive=one,
        state=plan.state_folder(one.platform, side.account),
        passphrase=site.secret(one.encryption_secret) if side.keeps else "",
        settled=plan.SETTLED,
        port=PORT,
        queue=plan.choose_queue(database.disk),
        version=version,
        **_certificates(one.platform, side),
    )
    secret_files.secret_file(
        name=f"Configure pgBackRest for {one.service}",
        dest=one.configuration,
        content=content,
        user=side.account,
        group=side.account,
        mode="0400",
        check=_judge(one.stanza) if side.keeps else None,
        check_user=side.account if side.keeps else None,
    )
    validated_files.validated_file(
        name=f"Describe the archive of {one.service}",
        dest=side.settings_file,
        content=plan.describe_side(side, version),
    )
    return version


def _judge(stanza: str) -> str:
    """What pgBackRest does not understand is a warning to it; where the repository is elsewhere, it cannot tell."""
    call = f"pgbackrest --config={{candidate}} --stanza={stanza} --log-level-console=off --log-level-stderr=warn"
    return f'test -z "$({call} --output=json info 2>&1 >/dev/null)"'


def _certificates(platform: str, side: Side) -> dict[str, str]:
    return {
        "certificate": paths.certificate(platform, side.identity),
        "key": paths.key(platform, side.identity),
        "bundle": paths.bundle(platform),
    }


def _run_server(platform: str, sides: list[Side]) -> None:
    """Serve the other sides: one account and one address for all archives of the platform that the host has part in."""
    folder, unit = sides[0].archive.folder, plan.server_unit(platform)
    configuration = f"{folder}/server.conf"
    state = plan.state_folder(platform, sides[0].account)
    written: list[OperationMeta] = [
        validated_files.validated_template(
            name="Say who may use pgBackRest's server",
            src="backup_postgresql/server.conf.j2",
            dest=configuration,
            data={"sides": sides, "port": PORT, "state": state, **_certificates(platform, sides[0])},
            mode="0644",
        ),
        systemd_units.unit(
            name="Describe pgBackRest's server to systemd",
            unit=unit,
            content=render_template(
                "backup_postgresql/server.service.j2",
                sides=sides,
                platform=platform,
                configuration=configuration,
                peers=sorted({side.peer_address for side in sides}),
                written=[state, *(side.archive.path for side in sides if side.keeps)],
            ),
        ),
    ]
    systemd_units.service(
        name="Run pgBackRest's server",
        units=unit,
        restart_inputs=[configuration, f"{systemd_units.FOLDER}/{unit}", "/usr/bin/pgbackrest"],
        after=written,
    )
    systemd_units.service(
        name="Have pgBackRest's server read its certificates",
        units=unit,
        enabled=None,
        reload_inputs=sides[0].certificate_inputs,
    )


def _run_timers(side: Side) -> None:
    one = side.archive
    systemd_units.unit(
        name=f"Describe the backup of {one.service} to systemd",
        unit=side.backup_unit,
        content=render_template(
            "backup_postgresql/backup.service.j2",
            side=side,
            archive=one,
            program=plan.program_path(one.platform),
            written=[one.path, plan.state_folder(one.platform, side.account)],
        ),
    )
    for kind, calendar in side.timers().items():
        timer = side.timer_unit(kind)
        described = systemd_units.unit(
            name=f"Describe when {one.service} is backed up ({kind})",
            unit=timer,
            content=render_template(
                "backup_postgresql/backup.timer.j2",
                archive=one,
                kind=kind,
                calendar=calendar,
                instance=side.backup_unit.replace("@.", f"@{kind}."),
            ),
        )
        systemd_units.service(
            name=f"Back {one.service} up when it is time ({kind})",
            units=timer,
            restart_inputs=[f"{systemd_units.FOLDER}/{timer}"],
            after=[described],
        )
