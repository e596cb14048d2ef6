"""Every host has its operators, its clock, its language, its neighbours' names, and patches itself."""

from __future__ import annotations

import time
from typing import Any

import pytest
from testinfra.host import Host

from groundwork.inventory import InventoryHost
from groundwork.site import Site

# Seconds that a host's clock may differ from ours, the time of asking included.
CLOCK_TOLERANCE = 5


def apt_settings(host: Host) -> dict[str, list[str]]:
    """apt's settings as apt itself reads them; lists under their name with ``::``."""
    settings: dict[str, list[str]] = {}
    for line in host.check_output("apt-config dump").splitlines():
        key, _, value = line.partition(" ")
        settings.setdefault(key, []).append(value.strip('";'))
    return settings


def datum(model: InventoryHost, name: str, default: Any) -> Any:
    value = model.data.get(name)
    return default if value is None else value


def in_container(host: Host) -> bool:
    return bool(host.run("systemd-detect-virt --container --quiet").rc == 0)


def test_release_is_supported(host: Host, host_model: InventoryHost) -> None:
    assert host.system_info.distribution == "debian"
    assert host.system_info.codename in ("bookworm", "trixie")
    assert host.system_info.codename == datum(host_model, "release", host.system_info.codename)


def test_no_unit_failed(host: Host) -> None:
    assert host.check_output("systemctl list-units --state=failed --plain --no-legend") == ""


def test_clock_is_right(host: Host, host_model: InventoryHost) -> None:
    before = time.time()
    there = float(host.check_output("date +%s.%N"))
    after = time.time()
    assert before - CLOCK_TOLERANCE < there < after + CLOCK_TOLERANCE
    zone = host.check_output("readlink -f /etc/localtime").partition("/zoneinfo/")[2]
    assert zone == datum(host_model, "timezone", "Etc/UTC")


def test_clock_is_kept(host: Host) -> None:
    assert host.package("chrony").is_installed
    assert not host.package("systemd-timesyncd").is_installed
    if in_container(host):
        pytest.skip("a container has the clock of its machine")
    assert host.service("chrony").is_running
    assert host.service("chrony").is_enabled
    assert host.run("chronyc -n waitsync 1 0.5 0 1").rc == 0


def test_language(host: Host, host_model: InventoryHost) -> None:
    wanted = datum(host_model, "locale", "C.UTF-8")
    assert f"LANG={wanted}" in host.file("/etc/default/locale").content_string.splitlines()
    known = [name.lower().replace("-", "") for name in host.check_output("locale -a").split()]
    assert wanted.lower().replace("-", "") in known


def test_names_of_all_hosts_resolve(host: Host, site: Site) -> None:
    for other in site.inventory.hosts:
        name = other.name.removeprefix("@ssh/")
        if name == other.address:
            continue
        assert host.check_output(f"getent ahostsv4 {name}").split()[0] == other.address


def test_apt_waits_for_its_lock(host: Host) -> None:
    settings = apt_settings(host)
    assert settings["DPkg::Lock::Timeout"] == ["300"]
    assert settings["Acquire::Retries"] == ["3"]


def test_security_updates_install_themselves(host: Host, host_model: InventoryHost) -> None:
    if not datum(host_model, "security_upgrades", True):
        pytest.skip("switched off for this host")
    settings = apt_settings(host)
    assert host.package("unattended-upgrades").is_installed
    assert settings["APT::Periodic::Update-Package-Lists"] == ["1"]
    assert settings["APT::Periodic::Unattended-Upgrade"] == ["1"]
    security = "origin=Debian,codename=${distro_codename}-security,label=Debian-Security"
    assert settings["Unattended-Upgrade::Origins-Pattern::"] == [security]
    held = settings.get("Unattended-Upgrade::Package-Blacklist::", [])
    assert len(held) >= len(datum(host_model, "held_packages", []))
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert host.check_output(f"systemctl is-active {timer}") == "active"


def test_journal_is_kept_and_limited(host: Host) -> None:
    machine = host.check_output("cat /etc/machine-id")
    assert host.file(f"/var/log/journal/{machine}/system.journal").exists
    settings = host.check_output("systemd-analyze cat-config systemd/journald.conf").splitlines()
    keys = dict(line.split("=", 1) for line in settings if "=" in line and not line.startswith("#"))
    assert keys["Storage"] == "persistent"
    # Sparse files look larger than they are, so the disk is asked.
    used = int(host.check_output("du -s --block-size=1 /var/log/journal").split()[0])
    assert used <= int(keys["SystemMaxUse"])
    written = host.file("/etc/systemd/journald.conf.d/50-groundwork.conf").mtime.timestamp()
    started = host.check_output("stat -c %Y /proc/$(systemctl show -p MainPID --value systemd-journald.service)")
    assert int(started) >= int(written)


def test_folders_for_all_roles(host: Host) -> None:
    for path in ("/etc/groundwork", "/var/lib/groundwork", "/usr/local/lib/groundwork"):
        folder = host.file(path)
        assert folder.is_directory
        assert (folder.user, folder.group, folder.mode) == ("root", "root", 0o755)


def test_operators_can_log_in_with_their_keys(host: Host, host_model: InventoryHost) -> None:
    operators: dict[str, dict[str, Any]] = datum(host_model, "operators", {})
    if not operators:
        pytest.skip("no operators are declared for this host")
    for name, operator in operators.items():
        user = host.user(name)
        assert user.exists
        keys = host.file(f"{user.home}/.ssh/authorized_keys")
        assert (keys.user, keys.mode) == (name, 0o600)
        assert set(operator["keys"]) <= set(keys.content_string.splitlines())
        rights = host.check_output(f"sudo -l -U {name}")
        assert ("NOPASSWD: ALL" in rights) == operator.get("sudo", True)


def test_sudo_accepts_its_configuration(host: Host) -> None:
    result = host.run("visudo -cq")
    assert result.rc == 0, result.stderr
    folder = host.check_output("find /etc/sudoers.d -name '50-groundwork-*' -printf '%u %m\\n'")
    assert set(folder.splitlines()) <= {"root 440"}
