"""PostgreSQL's log is archived and backups are made: asked of the database, the file system, systemd and openssl."""

from __future__ import annotations

import json
import time

import pytest
from testinfra.host import Host

from groundwork.inventory import InventoryHost
from groundwork.site import Site
from groundwork.topology.archives import Archive, list_archives

MOST_EXPOSED = 3.0
FIRST_BACKUP = 600.0
"""Seconds that the first backup may take."""
ARCHIVER_PAUSE = 90.0
"""Seconds within which PostgreSQL tries a segment again that could not be handed over: a minute, and some."""


def kept_here(site: Site, host_name: str) -> list[Archive]:
    return [one for one in list_archives(site.platform, site.topology) if one.host == host_name]


def archived_from(site: Site, host_name: str) -> list[Archive]:
    return [one for one in list_archives(site.platform, site.topology) if one.database.host == host_name]


def ask(host: Host, archive: Archive, query: str) -> str:
    where = f"host=/var/run/postgresql port={archive.database.port} user=postgres dbname=postgres"
    command = f"cd / && runuser -u postgres -- psql -X -q -A -t -d '{where}' -c \"{query}\""
    return str(host.check_output(command)).strip()


def await_first_backup(host: Host, archive: Archive) -> None:
    """An apply begins the first backup and does not wait for it."""
    unit = f"{archive.platform}-pgbackrest-{archive.service}@full.service"
    deadline = time.monotonic() + FIRST_BACKUP
    while host.run(f"systemctl is-active {unit}").stdout.strip() == "activating" and time.monotonic() < deadline:
        time.sleep(1)


def test_the_log_is_archived(host: Host, site: Site, host_name: str) -> None:
    for one in archived_from(site, host_name):
        assert ask(host, one, "SHOW archive_mode") == "on"
        assert one.stanza in ask(host, one, "SHOW archive_command")
        assert ask(host, one, "SHOW data_checksums") == "on"
        good = "last_archived_wal IS NOT NULL AND (last_failed_time IS NULL OR last_failed_time < last_archived_time)"
        deadline = time.monotonic() + ARCHIVER_PAUSE
        while (last := ask(host, one, f"SELECT {good} FROM pg_stat_archiver")) != "t" and time.monotonic() < deadline:
            time.sleep(1)
        assert last == "t", one.stanza


def test_archive_and_backups_lie_where_they_belong(host: Host, site: Site, host_name: str) -> None:
    for one in kept_here(site, host_name):
        folder = host.file(one.path)
        assert folder.is_directory
        assert folder.mode == 0o750
        assert folder.user == ("pgbackrest" if one.is_remote else "postgres")
        await_first_backup(host, one)
        segments = host.check_output(f"find {one.path}/archive/{one.stanza} -name '0*-*' -size +0 | head -3").split()
        assert segments, "no segment of the log has been archived"
        backups = host.check_output(f"ls {one.path}/backup/{one.stanza} | grep -E '^[0-9]{{8}}-[0-9]{{6}}F$' || true")
        assert backups.split(), "there is no full backup"
        for path in segments:
            # OpenSSL's mark of what is encrypted with a passphrase.
            assert host.check_output(f"head -c 8 {path}") == "Salted__"


def test_settings_with_the_passphrase_are_the_accounts_alone(host: Host, site: Site, host_name: str) -> None:
    for one in (*kept_here(site, host_name), *archived_from(site, host_name)):
        file = host.file(one.configuration)
        assert file.mode == 0o400
        assert file.user == ("pgbackrest" if one.keeper == host_name else "postgres")


def test_only_certificates_of_the_platform_get_in(
    host: Host, site: Site, host_name: str, host_model: InventoryHost
) -> None:
    if not any(one.is_remote for one in (*kept_here(site, host_name), *archived_from(site, host_name))):
        pytest.skip("the archive lies on this host")
    target = f"{host_model.address}:8432"
    bundle = f"/etc/groundwork/{site.platform.platform}/authority/bundle.pem"
    call = f"openssl s_client -connect {target} -CAfile {bundle} -verify_return_error"
    own = f"/etc/groundwork/{site.platform.platform}/certificates/operator/current"
    known = host.run(f"echo | timeout 10 {call} -cert {own}/certificate.pem -key {own}/key.pem 2>&1")
    assert "Verify return code: 0" in known.stdout
    names = host.check_output("ss -Hltn 'sport = :8432'").split()
    assert f"{host_model.address}:8432" in names
    # pgBackRest itself, with a certificate of the platform that is not the database's, then with none.
    for one in (found for found in archived_from(site, host_name) if found.is_remote):
        there = f"--repo1-host={one.keeper} --repo1-host-type=tls --repo1-host-port=8432 --repo1-host-ca-file={bundle}"
        there += f" --repo1-host-config={one.configuration}"
        base = f"timeout 60 pgbackrest --config=/dev/null --stanza={one.stanza} --log-level-file=off {there}"
        for client in (f"--repo1-host-cert-file={own}/certificate.pem --repo1-host-key-file={own}/key.pem", ""):
            answer = host.run(
                f"timeout 60 {base} --repo1-host-config={one.configuration} {client} --output=json info 2>&1"
            )
            assert '"label"' not in answer.stdout, answer.stdout
            assert "error" in answer.stdout.lower(), answer.stdout


def test_backups_have_their_time(host: Host, site: Site, host_name: str) -> None:
    for one in kept_here(site, host_name):
        for kind in ("full", "diff") if one.full_schedule else ("diff",):
            timer = f"{one.platform}-pgbackrest-{one.service}-{kind}.timer"
            assert host.service(timer).is_enabled, timer
            assert host.service(timer).is_running, timer
            unit = f"{one.platform}-pgbackrest-{one.service}@{kind}.service"
            assert host.check_output(f"systemctl show -P Unit {timer}") == unit
            assert host.run(f"systemctl is-failed --quiet {unit}").rc != 0, f"the last backup failed: {unit}"


def test_units_are_sandboxed(host: Host, site: Site, host_name: str) -> None:
    units = {f"{one.platform}-pgbackrest-{one.service}@full.service" for one in kept_here(site, host_name)}
    remote = [one for one in (*kept_here(site, host_name), *archived_from(site, host_name)) if one.is_remote]
    units |= {f"{one.platform}-pgbackrest.service" for one in remote}
    for unit in sorted(units):
        text = host.run(f"systemd-analyze security --no-pager {unit} 2>/dev/null | tail -n 1").stdout
        level = float(text.rpartition(":")[2].split()[0])
        assert level <= MOST_EXPOSED, f"{unit}: {text}"


def test_no_restore_is_left_half_done(host: Host, site: Site, host_name: str) -> None:
    for one in archived_from(site, host_name):
        state = host.run(f"cat /var/lib/groundwork/restores/{one.platform}/{one.service}.json").stdout
        if state:
            last = json.loads(state)
            assert last["ended"], f"a restore stands at {last['step']}"
            assert not last["error"], last["error"]
