"""Docker is hardened: asked of the engine itself, of systemd, and of what listens.

The numbers are recommendations of the CIS Docker Benchmark 1.6.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
from testinfra.host import Host

from groundwork.inventory import InventoryHost
from groundwork.site import Site
from groundwork.topology.containers import container_processes

NOBODY = "runuser -u nobody --"
SOCKET = "/run/docker.sock"


@pytest.fixture(autouse=True)
def _managed(host_model: InventoryHost) -> None:
    if not host_model.data.get("container_engine_managed", True):
        pytest.skip("the engine of this host is somebody else's")


def info(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.check_output("docker info --format '{{json .}}'"))
    return found


@cache
def _unshare_reason(host: Host) -> str:
    script = "mount -t proc proc /proc && mount -t sysfs sysfs /sys"
    command = f"unshare --user --map-root-user --net --pid --fork --mount sh -c '{script}' 2>&1"
    return str(host.run(command).stdout).strip()


def test_engine_runs_and_starts_with_the_host(host: Host) -> None:
    for unit in ("docker.service", "docker.socket"):
        assert host.service(unit).is_running, unit
        assert host.service(unit).is_enabled, unit


def test_2_7_engine_listens_on_no_network(site: Site, host: Host, host_model: InventoryHost) -> None:
    listening = host.check_output("ss -Hltnup").splitlines()
    # It holds the published ports, so that no process takes them; packets never reach it there.
    agents = [agent for process in container_processes(site.topology, host_model.name) for agent in process.agents]
    published = {f"{agent.address}:{agent.port}" for agent in agents}
    assert {line.split()[4] for line in listening if '"dockerd"' in line} <= published
    # containerd streams for Kubernetes, on the loopback.
    assert all("127.0.0.1:" in line for line in listening if '"containerd"' in line)
    arguments = host.check_output("tr '\\0' '\\n' < /proc/$(systemctl show -p MainPID --value docker.service)/cmdline")
    assert not re.search(r"tcp://|--host=tcp|^-H=tcp", arguments, re.MULTILINE)


def test_3_15_socket_is_out_of_reach_for_others(host: Host) -> None:
    socket = host.file(SOCKET)
    assert (socket.user, socket.group, socket.mode) == ("root", "docker", 0o660)
    assert host.group("docker").exists
    assert host.check_output("getent group docker").rpartition(":")[2] == "", "who is in the group docker is root"
    assert host.run(f"{NOBODY} docker ps").rc != 0


def test_3_17_configuration_belongs_to_root(host: Host) -> None:
    file = host.file("/etc/docker/daemon.json")
    assert (file.user, file.group) == ("root", "root")
    assert file.mode & 0o022 == 0


def test_2_2_containers_of_the_default_network_are_apart(host: Host) -> None:
    options = json.loads(host.check_output("docker network inspect bridge"))[0]["Options"]
    assert options["com.docker.network.bridge.enable_icc"] == "false"


def test_2_9_users_are_mapped_where_the_kernel_lets_them(host: Host, host_model: InventoryHost) -> None:
    mapped = any(option.startswith("name=userns") for option in info(host)["SecurityOptions"])
    if host_model.data.get("container_engine_userns") == "off":
        assert not mapped
        pytest.skip("container_engine_userns is off")
    if not mapped:
        reason = _unshare_reason(host)
        assert reason, "nothing keeps users from being mapped"
        pytest.skip(f"this host cannot map users: {reason}")
    assert re.search(r"^dockremap:", host.check_output("cat /etc/subuid"), re.MULTILINE)


def test_2_13_logs_are_limited(host: Host) -> None:
    assert info(host)["LoggingDriver"] == "local"


def test_2_15_containers_outlive_the_engine(host: Host) -> None:
    assert info(host)["LiveRestoreEnabled"] is True


def test_2_16_no_proxy_in_user_space(host: Host) -> None:
    assert host.run("pgrep -x docker-proxy").rc != 0


def test_5_default_profiles_are_on(host: Host) -> None:
    options = info(host)["SecurityOptions"]
    assert any(option.startswith("name=seccomp,profile=") and "unconfined" not in option for option in options)
    if host.run("cat /sys/module/apparmor/parameters/enabled").stdout.strip() != "Y":
        pytest.skip("the kernel has no AppArmor")
    assert any(option.startswith("name=apparmor") for option in options)
