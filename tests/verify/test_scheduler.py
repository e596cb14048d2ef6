"""The controller host has a timer for every pass, a checkout that can run it, and figures of what ran."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from testinfra.host import Host

from groundwork.inventory import InventoryHost
from groundwork.site import Site

# What may run unattended; a task whose command this version lacks gets no timer.
COMMANDS = {
    "verify": ["verify"],
    "drift": ["drift"],
    "rotate_certificates": ["certs", "rotate"],
    "harden_check": ["harden"],
    "harden_enforce": ["harden"],
    "backup_check": ["backup", "check"],
    "rehearse": ["backup", "rehearse"],
}


def datum(model: InventoryHost, name: str, default: str) -> str:
    return str(model.data.get(name) or default)


def checkout(model: InventoryHost) -> str:
    return datum(model, "controller_checkout", "/srv/groundwork")


@cache
def has_command(task: str) -> bool:
    """Whether the command line knows a task's command."""
    command = [sys.executable, "-m", "groundwork.cli.main", *COMMANDS.get(task, ["none"]), "--help"]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def scheduled(site: Site) -> dict[str, Any]:
    return {name: one for name, one in site.platform.schedules.items() if has_command(one.task)}


def show(host: Host, unit: str) -> dict[str, str]:
    # With what is empty: a service that has not run yet has no times.
    lines = host.check_output(f"systemctl show --all {unit}").splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def test_every_pass_waits_for_its_time(host: Host, site: Site) -> None:
    for name in scheduled(site):
        timer = f"groundwork-{site.platform.platform}-{name}.timer"
        assert host.service(timer).is_enabled, timer
        state = show(host, timer)
        assert state["ActiveState"] == "active"
        assert state["Persistent"] == "yes"
        # "n/a" and nothing at all mean that it never comes.
        elapse = state["NextElapseUSecRealtime"]
        assert re.search(r"20\d\d-", elapse), f"{timer}: next run {elapse!r}"


def test_nothing_else_is_scheduled(host: Host, site: Site) -> None:
    platform = site.platform.platform
    pattern = f"/etc/systemd/system/groundwork-{platform}-*.service"
    services = host.check_output(f"grep -ls 'gw schedule run' {pattern} || true").split()
    names = {path.rpartition("/")[2].removesuffix(".service") for path in services}
    assert names == {f"groundwork-{platform}-{name}" for name in scheduled(site)}


def test_passes_run_as_the_checkouts_owner(host: Host, site: Site, host_model: InventoryHost) -> None:
    folder = checkout(host_model)
    owner = host.check_output(f"stat -L -c %U {folder}")
    for name in scheduled(site):
        state = show(host, f"groundwork-{site.platform.platform}-{name}.service")
        assert state["User"] == owner
        assert state["WorkingDirectory"] == folder
        assert f"{folder}/gw schedule run {site.environment} {name}" in state["ExecStart"]
        # What root adds after it runs is root's own file.
        (publisher,) = re.findall(r"path=(\S+publish-metrics)", state["ExecStopPostEx"])
        assert (host.file(publisher).user, host.file(publisher).mode) == ("root", 0o755)


def test_the_checkout_can_run_them(host: Host, site: Site, host_model: InventoryHost) -> None:
    folder = checkout(host_model)
    owner = host.check_output(f"stat -L -c %U {folder}")
    command = f"runuser -u {owner} -- env GROUNDWORK_ROOT={folder} {folder}/gw schedule list {site.environment} --json"
    rows = json.loads(host.check_output(f"cd {folder} && {command} 2>/dev/null"))["schedules"]
    assert {row["schedule"] for row in rows if row["command"]} == set(scheduled(site))


def test_the_key_is_roots_alone(host: Host, host_model: InventoryHost) -> None:
    key = host_model.data.get("controller_key")
    if not key:
        pytest.skip("the passes use their account's own key")
    file = host.file(str(key))
    assert (file.user, file.mode & 0o077) == ("root", 0)


def test_figures_of_what_ran_are_where_node_exporter_reads(host: Host, site: Site, host_model: InventoryHost) -> None:
    folder = datum(host_model, "metrics_folder", "/var/lib/prometheus/node-exporter")
    assert host.file(folder).is_directory
    for name in scheduled(site):
        state = show(host, f"groundwork-{site.platform.platform}-{name}.service")
        if not state["ExecMainExitTimestamp"] or state["ActiveState"] == "activating":
            continue  # It has not ended since the host was booted.
        file = host.file(f"{folder}/groundwork-{name}.prom")
        assert file.exists, f"{name} ran and left no figures"
        assert (file.user, file.mode) == ("root", 0o644)
        values = {
            match[1]: float(match[2])
            for line in file.content_string.splitlines()
            if (match := re.fullmatch(r"groundwork_schedule_(\w+_seconds|exit_code)\{[^}]*\} (\S+)", line))
        }
        assert 0 < values["last_run_timestamp_seconds"] <= datetime.now(UTC).timestamp() + 5
        assert values["duration_seconds"] > 0
        assert (values["exit_code"] == 0) == (state["Result"] == "success")
