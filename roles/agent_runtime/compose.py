"""A group's compose project: what Docker is told of its containers.

Written for both Compose that Debian has: 1.29 (Debian 12) and 2 (Debian 13) read this file alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from groundwork.manifest.agents import Agent, GpuShare, Resources
from groundwork.manifest.platform import Platform
from roles.agent_runtime.containers import (
    INSIDE,
    SECRETS,
    ContainerPlan,
    project_name,
    publish_ports,
    service_name,
    unit_folder,
)

if TYPE_CHECKING:
    from roles.agent_runtime.plan import HostPlan, ProcessPlan

USER = "${GROUNDWORK_USER:?is set by the container's unit}"
DEFAULT_TASKS = 512
"""Processes and threads where the manifest says nothing (CIS Docker Benchmark 5.28 wants a limit)."""
CPU_PERIOD_US = 100_000
LOGGING = {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}}
"""The unit's journal has every line; these are for ``docker logs``."""
_WEIGHT_TO_SHARES = 1024 / 100
"""systemd's usual weight is 100, Docker's usual shares are 1024."""


def render_project(plan: HostPlan, group: str, services: Mapping[str, dict[str, Any]]) -> str:
    """The compose file of one group."""
    project = project_name(plan.platform, group)
    document: dict[str, Any] = {"services": dict(services)}
    document["networks"] = {
        "default": {
            "name": project,
            # Containers reach each other as everybody does: at the published ports, by way of the firewall.
            "driver_opts": {"com.docker.network.bridge.enable_icc": "false"},
            "labels": {"groundwork.platform": plan.platform},
        }
    }
    secrets = {
        secret["source"]: {"file": f"{unit_folder(service['labels']['groundwork.unit'])}/secrets/{secret['target']}"}
        for service in services.values()
        for secret in service["secrets"]
    }
    if secrets:
        document["secrets"] = secrets
    head = "# Written by Groundwork from the platform's manifest; edits are replaced.\n"
    return head + yaml.safe_dump(document, sort_keys=False, width=110)


def describe_service(
    platform: Platform, process: ProcessPlan, container: ContainerPlan, image: str, program: str
) -> dict[str, Any]:
    """One container of a project. ``program`` is the Python of the runtime's image, empty for another's image."""
    unit = process.process.unit_name
    name = service_name(unit)
    group = platform.groups[process.group.name]
    agents = [group.agents[agent.agent] for agent in process.process.agents]
    folder = unit_folder(unit)
    etc = f"/etc/groundwork/{platform.platform}"
    state = f"/var/lib/{process.group.user}"
    volumes = [f"{folder}/etc:{etc}:ro", f"{folder}/run:{INSIDE}:ro", f"{state}:{state}"]
    if group.log_file:
        log_folder = group.log_file.path.rpartition("/")[0]
        volumes.append(f"{log_folder}:{log_folder}")
    service: dict[str, Any] = {
        "container_name": name,
        "image": image,
        "user": USER,
        "environment": {key: _escape(value) for key, value in sorted(_variables(platform, process, container).items())},
        "secrets": [{"source": f"{name}.{secret}", "target": secret} for secret in process.credentials],
        "volumes": volumes,
        "tmpfs": ["/tmp:size=64m,mode=1777,noexec,nosuid,nodev"],
        "ports": publish_ports(process.process.agents),
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "ipc": "private",
        "restart": "no",
        "stop_grace_period": f"{platform.runtime.stop_timeout:g}s",
        "cgroup_parent": process.group.slice,
        "logging": LOGGING,
        "labels": {"groundwork.platform": platform.platform, "groundwork.unit": unit.removesuffix(".service")},
        **limit(process.resources),
    }
    if program:
        service["entrypoint"] = [program, "-m", process.module]
    check = _check_health(platform, process, agents, bool(program))
    if check:
        service["healthcheck"] = check
    if group.gpu:
        service["deploy"] = {"resources": {"reservations": {"devices": [request_gpu(group.gpu)]}}}
    return service


def _variables(platform: Platform, process: ProcessPlan, container: ContainerPlan) -> dict[str, str]:
    """A container's environment. As with systemd's EnvironmentFile=, the configuration wins over plain variables."""
    credentials = {**container.configuration_secrets, **process.secret_files}
    state = f"/var/lib/{process.group.user}"
    given = {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        "HOME": state,
        "STATE_DIRECTORY": state,
        "CREDENTIALS_DIRECTORY": SECRETS,
        "NOTIFY_SOCKET": f"{INSIDE}/notify",
        "WATCHDOG_USEC": str(int(platform.runtime.watchdog * 1_000_000)),
        **process.variables,
        **container.configuration,
    }
    return {**given, **{key: f"{SECRETS}/{name}" for key, name in credentials.items()}}


def _escape(value: str) -> str:
    """Compose replaces ``$NAME``; ``$$`` is a dollar sign (Compose specification, interpolation)."""
    return value.replace("$", "$$")


def limit(resources: Resources) -> dict[str, Any]:
    """Limits of one container; those of its group are its slice's."""
    found: dict[str, Any] = {"pids_limit": resources.tasks_max or DEFAULT_TASKS}
    if resources.memory_max is not None:
        # No swap beyond the limit: it is one of memory.
        found |= {"mem_limit": resources.memory_max, "memswap_limit": resources.memory_max}
    if resources.memory_high is not None:
        found["mem_reservation"] = min(resources.memory_high, resources.memory_max or resources.memory_high)
    if resources.cpu_quota is not None:
        # Not `cpus`: Docker refuses that, rather than to warn, on kernels without a limit for the processor.
        found |= {"cpu_period": CPU_PERIOD_US, "cpu_quota": resources.cpu_quota * CPU_PERIOD_US // 100}
    if resources.cpu_weight is not None:
        found["cpu_shares"] = max(2, round(resources.cpu_weight * _WEIGHT_TO_SHARES))
    return found


def _check_health(platform: Platform, process: ProcessPlan, agents: list[Agent], own: bool) -> dict[str, Any] | None:
    """How Docker asks for the health; another's image keeps its own way where the manifest has no ``liveness``."""
    pairs = [(i, a) for i, a in zip(process.process.agents, agents, strict=True) if i.port is not None]
    declared = [agent.liveness for agent in agents if agent.liveness]
    if not pairs or not (own or declared):
        return None
    python = "/usr/bin/python3" if own else "python3"
    questions = [f"{instance.port}{instance.health_path}" for instance, _ in pairs]
    delay = max([probe.delay for probe in declared], default=0.0)
    return {
        "test": ["CMD", python, f"{INSIDE}/probe.py", *questions],
        "interval": f"{min([probe.interval for probe in declared], default=10.0):g}s",
        "timeout": f"{max([probe.timeout for probe in declared], default=10.0):g}s",
        "retries": max([probe.failures for probe in declared], default=3),
        # A process that still waits for its services is not ill.
        "start_period": f"{max(delay, platform.runtime.ready_timeout):g}s",
    }


def request_gpu(share: GpuShare, devices: tuple[str, ...] = ()) -> dict[str, Any]:
    """A device request: of the cards or MIG instances by UUID, else of the declared card, else of any one."""
    request: dict[str, Any] = {"driver": "nvidia", "capabilities": ["gpu"]}
    if devices:
        return {**request, "device_ids": list(devices)}
    if share.card is not None:
        return {**request, "device_ids": [str(share.card)]}
    return {**request, "count": 1}
