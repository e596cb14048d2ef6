"""The cards as nvidia-smi and the running processes show them; nothing of the role's own programs is asked."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
from testinfra.host import Host

from groundwork.inventory import InventoryHost
from groundwork.site import Site
from groundwork.topology.model import Process
from groundwork.topology.sharing import cards_unit, environment_file, mps_user

SMI = "/usr/bin/nvidia-smi"


@pytest.fixture
def processes(site: Site, host_model: InventoryHost) -> list[Process]:
    """Processes of the host with a share of a card."""
    return [process for process in site.topology.processes_on(host_model.name) if process.sharing]


@pytest.fixture
def declared(site: Site, host: Host) -> dict[str, Any]:
    """What the host was told about its cards."""
    text = host.check_output(f"cat /etc/groundwork/{site.platform.platform}/gpu.json")
    document: dict[str, Any] = json.loads(text)
    return document


def read_environment(host: Host, path: str) -> dict[str, str]:
    text = host.check_output(f"cat {shlex.quote(path)}")
    return dict(line.partition("=")[::2] for line in text.splitlines() if not line.startswith("#"))


def test_the_driver_answers_with_one_version(host: Host) -> None:
    versions = host.check_output(f"{SMI} --query-gpu=driver_version --format=csv,noheader").split()
    assert versions
    module = host.run("cat /sys/module/nvidia/version")
    if module.rc == 0:
        assert set(versions) == {module.stdout.strip()}


def test_the_driver_is_kept_from_unattended_upgrades(host: Host) -> None:
    held = re.findall(r'^Unattended-Upgrade::Package-Blacklist:: "(.*)";', host.check_output("apt-config dump"), re.M)
    for package in ("nvidia-driver", "libnvidia-ml1", "libcuda1"):
        assert any(re.search(pattern, package) for pattern in held), package


def test_the_layout_is_restored_at_boot(site: Site, host: Host) -> None:
    unit = host.service(cards_unit(site.platform.platform))
    assert unit.is_enabled
    assert unit.is_running


def test_cards_are_cut_as_declared(host: Host, declared: dict[str, Any]) -> None:
    for uuid, card in declared["cards"].items():
        fields = "mig.mode.current,mig.mode.pending,compute_mode,persistence_mode"
        line = host.check_output(f"{SMI} -i {uuid} --query-gpu={fields} --format=csv,noheader")
        mode, pending, compute, persistence = (value.strip() for value in line.split(","))
        expected = {None: "[N/A]", True: "Enabled", False: "Disabled"}[card["mig"]]
        assert (mode, pending, compute, persistence) == (expected, expected, card["compute_mode"], "Enabled")
        table = host.run(f"{SMI} mig -i {uuid} -lgi").stdout if card["mig"] else ""
        rows = re.findall(r"\|\s+\d+\s+MIG \S+\s+(\d+)\s+\d+\s+(\d+):\d+\s+\|", table)
        assert sorted([int(profile), int(start)] for profile, start in rows) == sorted(card["instances"])


def test_every_process_has_a_part_of_a_card_that_is_there(
    site: Site, host: Host, processes: list[Process], declared: dict[str, Any]
) -> None:
    listing = host.check_output(f"{SMI} -L")
    known = set(re.findall(r"(?:GPU|MIG)-[0-9a-f-]{36}", listing))
    assert {consumer["unit"] for consumer in declared["consumers"]} == {process.unit_name for process in processes}
    seen: dict[str, int] = {}
    for process in processes:
        values = read_environment(host, environment_file(site.platform.platform, process.unit_name))
        device = values["CUDA_VISIBLE_DEVICES"]
        assert device in known
        assert device.startswith("MIG-") or process.sharing != "mig"
        seen[device] = seen.get(device, 0) + 1
        if process.sharing == "mig":
            assert seen[device] == 1, f"{device} is given twice"


@pytest.mark.role("agent_runtime")
def test_running_processes_see_that_part(site: Site, host: Host, processes: list[Process]) -> None:
    for process in processes:
        values = read_environment(host, environment_file(site.platform.platform, process.unit_name))
        pid = host.check_output(f"systemctl show --property=MainPID --value {shlex.quote(process.unit_name)}")
        environment = host.check_output(f"cat /proc/{pid}/environ | tr '\\0' '\\n'").splitlines()
        for key, value in values.items():
            assert f"{key}={value}" in environment, process.unit_name


def test_mps_daemons_answer_and_are_confined(site: Site, host: Host, declared: dict[str, Any]) -> None:
    platform = site.platform.platform
    user = mps_user(platform).name
    for daemon in declared["daemons"]:
        unit = f"groundwork-mps-{platform}@{daemon['key']}.service"
        assert host.service(unit).is_running
        pid = host.check_output(f"systemctl show --property=MainPID --value {unit}")
        assert host.check_output(f"stat -c %U /proc/{pid}") == user
        pipe = f"/run/groundwork-mps-{platform}/{daemon['key']}"
        assert (host.file(pipe).user, host.file(pipe).mode) == (user, 0o700)
        ask = f"runuser -u {user} -- env CUDA_MPS_PIPE_DIRECTORY={pipe} /usr/bin/nvidia-cuda-mps-control"
        answer = host.check_output(f"echo get_default_active_thread_percentage | {ask}")
        assert float(answer) == daemon["thread_percentage"]
        security = host.check_output(f"systemd-analyze security --no-pager {unit}")
        found = re.search(r"Overall exposure level for .*: ([0-9.]+)", security)
        assert found
        assert float(found[1]) <= 2.0


def test_clients_run_as_their_servers_user(site: Site, host: Host, processes: list[Process]) -> None:
    """Clients of another user ID would wait until the server has no others."""
    for process in processes:
        if process.sharing == "mps" and host.service(process.unit_name).is_running:
            shown = host.check_output(f"systemctl show --property=User --value {shlex.quote(process.unit_name)}")
            assert shown == mps_user(site.platform.platform).name
