"""How the container engine of one host is to be set up, decided without looking at it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from groundwork.operations.ledger_items import Item
from groundwork.problems import Problem, ProblemError
from groundwork.topology.containers import NETWORK_BITS, container_pool, container_processes
from groundwork.topology.model import Topology

CONFIGURATION = "/etc/docker/daemon.json"
UNIT, SOCKET = "docker.service", "docker.socket"
DROP_IN = "50-groundwork.conf"
RULES = "/usr/local/lib/groundwork/container_engine/published-rules"
REMAP_USER = "dockremap"
"""The account whose subordinate ids containers get; dockerd makes it where it is missing."""
LOG_SIZE, LOG_FILES = "10m", "3"
OPEN_FILES = 16_384
"""Files that a container may have open; Docker's own default is the engine's, which is without a limit."""


@dataclass(frozen=True)
class EnginePlan:
    """The engine of one host."""

    platform: str
    pool: str
    """Network that all container networks of the host are cut from."""
    containers: tuple[str, ...]
    """Units whose containers it runs."""


def plan_engine(topology: Topology, host: str) -> EnginePlan | None:
    """What the host's engine is for; None where nothing of it runs as a container. Raises ProblemError."""
    units = tuple(process.unit_name for process in container_processes(topology, host))
    if not units:
        return None
    return EnginePlan(topology.platform, container_pool(topology.inventory.host(host)), units)


def list_packages(debian: str) -> list[str]:
    """Debian's packages: the engine, its command line (a package of its own from Debian 13 on), and Compose."""
    packages = ["docker.io", "docker-compose", "iptables", "apparmor"]
    return packages if debian == "12" else [*packages, "docker-cli"]


def ledger_role(platform: str) -> str:
    """Name of the ledger: of several platforms on a host one owns the engine."""
    return f"container_engine-{platform}"


def list_items() -> list[Item]:
    """What the role lays down, in that order."""
    files = [Item("file", RULES), Item("file", CONFIGURATION)]
    return [*files, Item("unit", SOCKET), Item("unit", UNIT)]


def choose_mapping(
    setting: Literal["auto", "on", "off"], obstacle: str, *, mapped: bool, foreign: tuple[str, ...], host: str
) -> bool:
    """Whether users are mapped (userns-remap). ``obstacle`` is why the kernel would not; ``mapped`` what is now.

    An engine that maps goes on doing so unless it is told otherwise: images and containers of the one way are out of
    sight in the other. Raises ProblemError where the setting cannot be had, or would hide somebody's containers.
    """
    key = f"host {host}: container_engine_userns"
    if setting == "on" and obstacle and not mapped:
        message = f"the host cannot give containers a user namespace: {obstacle}"
        raise ProblemError([Problem(message, key=key, given="on", allowed="auto, off")])
    wanted = setting == "on" or (setting == "auto" and (mapped or not obstacle))
    if wanted != mapped and foreign:
        message = f"the change would hide containers that are none of ours: {', '.join(foreign[:5])}"
        allowed = f"{'on' if mapped else 'off'}, or remove them first"
        raise ProblemError([Problem(message, key=key, given=setting, allowed=allowed)])
    return wanted


def check_owner(configuration: str | None, owned: bool, host: str) -> None:
    """Raise ProblemError for a daemon.json that somebody else has written: two owners would undo each other's work."""
    if configuration is not None and not owned:
        message = f"{CONFIGURATION} is there and none of ours"
        allowed = "no such file, or container_engine_managed = False, which leaves the engine to its owner"
        raise ProblemError([Problem(message, key=f"host {host}: container_engine_managed", allowed=allowed)])


def render_configuration(plan: EnginePlan, *, maps_users: bool) -> str:
    """daemon.json. The numbers are recommendations of the CIS Docker Benchmark 1.6."""
    settings: dict[str, Any] = {
        "icc": False,  # 2.2
        "log-level": "info",  # 2.3
        "default-ulimits": {"nofile": {"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES}},  # 2.8
        "log-driver": "local",  # 2.13, within limits
        "log-opts": {"max-size": LOG_SIZE, "max-file": LOG_FILES},
        "no-new-privileges": True,  # 2.14
        "live-restore": True,  # 2.15
        "userland-proxy": False,  # 2.16
        "experimental": False,  # 2.18
        "default-cgroupns-mode": "private",
        "exec-opts": ["native.cgroupdriver=systemd"],
        "default-address-pools": [{"base": plan.pool, "size": NETWORK_BITS}],
    }
    if maps_users:
        settings["userns-remap"] = "default"  # 2.9
    return json.dumps(settings, indent=2, sort_keys=True) + "\n"
