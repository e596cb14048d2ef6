"""Every item of the policy has its timer and sandbox, secrets are root's alone, and a repository lets in its own."""

from __future__ import annotations

import json
import re

import pytest
from testinfra.host import Host

from groundwork.manifest.backup import Backup
from groundwork.site import Site

EXPOSURE = 3.0
"""What systemd-analyze security may give a unit of the backups at most (10 is no sandbox at all)."""
# What the manifest can declare and this version leaves out, by name.
LEFT_OUT = ("postgresql", "kubernetes")
CARRIED = ("authority", "secrets")


def policy(site: Site) -> Backup:
    assert site.platform.backup is not None
    return site.platform.backup


def keepers(site: Site) -> dict[str, str]:
    """Name of every repository that lies on a host, with that host."""
    declared = {"main": policy(site).repository}
    declared |= {f"copy-{number}": copy for number, copy in enumerate(policy(site).copies, 1)}
    found = {}
    for name, one in declared.items():
        if one.kind == "host" and one.hosts:
            found[name] = site.inventory.group(one.hosts)[0].name
    return found


def items_on(site: Site, host: str) -> list[str]:
    """Items with a job on a host, by the manifest and the inventory alone."""
    found = []
    for name, item in policy(site).items.items():
        if item.what in LEFT_OUT:
            continue
        if item.what in CARRIED:
            there = host == next(iter(keepers(site).values()), site.inventory.hosts[0].name)
        elif item.service:
            serving = [node.host for node in site.topology.nodes if node.service == item.service]
            there = host in (serving[:1] if item.what == "nats" else serving)
        else:
            there = item.hosts in site.inventory.host(host).groups
        found += [name] if there else []
    return found


def prefix(site: Site) -> str:
    return f"groundwork-{site.platform.platform}-backup"


def test_every_item_waits_for_its_time_and_nothing_else_does(host: Host, site: Site, host_name: str) -> None:
    wanted = set(items_on(site, host_name))
    listed = host.check_output(f"ls /etc/systemd/system | grep -o '^{prefix(site)}-.*@.service$' || true").split()
    assert {name.removeprefix(f"{prefix(site)}-").removesuffix("@.service") for name in listed} == wanted
    for item in wanted:
        timer = host.service(f"{prefix(site)}-{item}.timer")
        assert timer.is_enabled
        assert timer.is_running
        calendar = host.check_output(f"systemctl show --property=TimersCalendar {prefix(site)}-{item}.timer")
        assert "next_elapse=n/a" not in calendar


def test_jobs_and_servers_are_sandboxed(host: Host, site: Site, host_name: str) -> None:
    units = [f"{prefix(site)}-{item}@timer.service" for item in items_on(site, host_name)]
    here = [name for name, keeper in keepers(site).items() if keeper == host_name]
    units += [f"{prefix(site)}-repository-{name}.service" for name in here]
    units += [f"{prefix(site)}-retention.service"] if here else []
    for unit in units:
        output = host.check_output(f"systemd-analyze security --no-pager {unit}")
        found = re.search(r"Overall exposure level for .*: ([0-9.]+)", output)
        assert found, output
        assert float(found[1]) <= EXPOSURE, unit


def test_passwords_are_roots_alone_and_in_no_settings(host: Host, site: Site) -> None:
    folder = f"/etc/groundwork/{site.platform.platform}"
    for path in host.check_output(f"ls {folder}/credentials/backup* {folder}/credentials/*encryption*").split():
        file = host.file(path)
        assert (file.user, file.mode) == ("root", 0o600), path
        # Looked for from its file: a password is in no argument list, not even here.
        assert host.run(f"grep -rqF -f {path} {folder}/backup").rc == 1, path


def test_a_repository_is_served_to_its_clients_and_to_nobody_else(host: Host, site: Site, host_name: str) -> None:
    here = [name for name, keeper in keepers(site).items() if keeper == host_name]
    if not here:
        pytest.skip("keeps no repository")
    address = site.inventory.host(host_name).address
    trust = f"/etc/groundwork/{site.platform.platform}/authority/bundle.pem"
    for name in here:
        declared = policy(site).repository if name == "main" else policy(site).copies[int(name[5:]) - 1]
        server = host.service(f"{prefix(site)}-repository-{name}.service")
        assert server.is_enabled
        assert server.is_running
        folder = host.file(declared.path)
        assert (folder.user, folder.mode) == ("groundwork-backup", 0o711)
        inside = host.check_output("find %s -mindepth 1 -maxdepth 1 -perm /022", folder.path)
        assert inside == "", "somebody else may write to them"
        # Without a certificate of the authority there is no connection.
        session = f"echo | openssl s_client -connect {address}:{declared.port} -CAfile {trust} -verify_return_error"
        assert "Verify return code: 0 (ok)" in host.run(f"{session} 2>&1").stdout
        request = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -connect {address}:{declared.port}"
        assert "HTTP/1" not in host.run(f"{request} -CAfile {trust} 2>&1").stdout


def test_what_ran_last_went_well(host: Host, site: Site, host_name: str) -> None:
    for item in items_on(site, host_name):
        file = host.file(f"/var/lib/groundwork-backup/{site.platform.platform}/{item}/last.json")
        if not file.exists:
            continue  # It has not been its time yet.
        result = json.loads(file.content_string)
        assert result["ok"], f"{item}: {result}"
