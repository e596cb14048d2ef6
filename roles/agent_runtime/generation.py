"""From a host's plan to a generation: every file of it, and the description that the host switches by."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundwork.manifest.platform import Platform
from groundwork.operations.rendering import render_template
from groundwork.topology.sharing import cards_unit, environment_file
from roles.agent_runtime.accounts import package_name, platform_slice, platform_target
from roles.agent_runtime.compose import describe_service, render_project
from roles.agent_runtime.containers import ContainerPlan, list_copies, project_name, service_name
from roles.agent_runtime.network import filter_addresses
from roles.agent_runtime.plan import GroupPlan, HostPlan, ProcessPlan
from roles.agent_runtime.quoting import escape_unit_text, quote_unit_assignment
from roles.agent_runtime.resources import Setting

UNITS = "units/"
STEPPED_RESTART_VERSION = 254
"""First systemd with RestartSteps= and RestartMaxDelaySec= (systemd.service(5))."""


@dataclass(frozen=True)
class GenerationFile:
    """One file: its text, permission bits and group; the owner is root."""

    content: str
    mode: int = 0o644
    group: str = "root"


@dataclass(frozen=True)
class Generation:
    """What ``stage`` lays down; equal content has an equal name."""

    name: str
    files: dict[str, GenerationFile]
    document: dict[str, Any]

    @property
    def unit_files(self) -> tuple[str, ...]:
        """Unit files and drop-ins, relative to /etc/systemd/system."""
        return tuple(path.removeprefix(UNITS) for path in self.files if path.startswith(UNITS))

    @property
    def links(self) -> tuple[str, ...]:
        """Names below /etc/groundwork/<platform>/ that lead into the generation."""
        return tuple(self.document["links"])


def build_generation(
    platform: Platform, plan: HostPlan, release: str, systemd_version: int, images: Mapping[str, str] | None = None
) -> Generation:
    """Render everything that belongs together with ``release`` on one host.

    ``images`` are the references of the images of the groups that run as containers.
    """
    images = images or {}
    files: dict[str, GenerationFile] = {}
    inputs: dict[str, Any] = {}
    for group in plan.groups:
        members = [process for process in plan.processes if process.group is group]
        if group.configuration:
            files[group.configuration.file] = GenerationFile(group.configuration.content, 0o640, group.user)
        filters = filter_addresses(group, members)
        files[f"{UNITS}{group.slice}"] = _render_limits(f"Limits of {plan.platform}'s {group.name}", group, filters)
        units = [process.process.unit_name for process in members]
        text = render_template(
            "agent_runtime/group.target.j2",
            description=f"Agents of {plan.platform}'s group {group.name}",
            part_of=platform_target(plan.platform),
            units=units,
            wanted_by="",
        )
        files[f"{UNITS}{group.target}"] = GenerationFile(text)
        services: dict[str, dict[str, Any]] = {}
        for process in members:
            files |= _render_process(platform, plan, process, members, systemd_version)
            if group.container:
                service = describe_container(platform, process, group.container, release, images[group.name])
                services[service["container_name"]] = service
                files |= _describe_supervision(platform, process)
            inputs[process.process.unit_name] = _add_instance(files, plan, process, release, services)
        if services:
            files[f"containers/{group.name}.yaml"] = GenerationFile(render_project(plan, group.name, services), 0o600)
    files[f"{UNITS}{platform_slice(plan.platform)}"] = _render_limits(f"Limits of {plan.platform}", None)
    text = render_template(
        "agent_runtime/group.target.j2",
        description=f"All agents of {plan.platform} on this host",
        part_of="",
        units=[group.target for group in plan.groups],
        wanted_by="multi-user.target",
    )
    files[f"{UNITS}{platform_target(plan.platform)}"] = GenerationFile(text)
    links = ["instances", *(["containers"] if any(group.container for group in plan.groups) else [])]
    links += [group.configuration.file for group in plan.groups if group.configuration]
    document = {
        "release": release,
        "target": platform_target(plan.platform),
        "links": links,
        "phases": [list(phase) for phase in plan.phases],
        "inputs": inputs,
        "timeouts": {"ready": platform.runtime.ready_timeout, "stop": platform.runtime.stop_timeout},
        "keep": platform.runtime.keep_releases,
        "checks": [
            _describe_check(group) for group in plan.groups if group.configuration and group.configuration.check
        ],
        "files": {path: vars(file) for path, file in files.items()},
    }
    name = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
    return Generation(name, files, document)


def _render_limits(description: str, group: GroupPlan | None, filters: tuple[Setting, ...] = ()) -> GenerationFile:
    limits = (*group.limits, *filters) if group else ()
    return GenerationFile(render_template("agent_runtime/limits.slice.j2", description=description, limits=limits))


def _describe_check(group: GroupPlan) -> dict[str, Any]:
    assert group.configuration is not None
    configuration = group.configuration
    arguments = list(configuration.check)
    return {"file": configuration.file, "content": configuration.candidate, "user": group.user, "arguments": arguments}


def _render_process(
    platform: Platform, plan: HostPlan, process: ProcessPlan, members: list[ProcessPlan], systemd_version: int
) -> dict[str, GenerationFile]:
    """The template unit of a process, the same for all its instances."""
    unit = process.process.unit
    group = process.group
    runtime = platform.runtime
    agents = platform.groups[group.name].agents
    description = group.description
    if not process.process.packed:
        description = agents[process.process.agents[0].agent].description or description
    kind = "container" if group.container else "agent"
    text = render_template(
        f"agent_runtime/{kind}@.service.j2",
        description=escape_unit_text(description),
        unit=unit,
        group=group,
        platform=plan.platform,
        package=package_name(plan.platform),
        module=process.module,
        restart=runtime.restart,
        stepped_restart=systemd_version >= STEPPED_RESTART_VERSION,
        ready_timeout=runtime.ready_timeout,
        stop_timeout=runtime.stop_timeout,
        watchdog=runtime.watchdog,
        log_folder=posixpath.dirname(group.log_file.path).removeprefix("/var/log/") if group.log_file else "",
        limits=process.limits,
        filtered=all(other.addresses is not None for other in members if other.process.unit == unit),
    )
    return {f"{UNITS}{unit}@.service": GenerationFile(text)}


def _describe_supervision(platform: Platform, process: ProcessPlan) -> dict[str, GenerationFile]:
    """What the unit of a container reads: where everything is that the container needs."""
    unit = process.process.unit_name
    group = process.group
    project = project_name(platform.platform, group.name)
    folder = f"/etc/groundwork/{platform.platform}"
    document = {
        "unit": unit.removesuffix(".service"),
        "service": service_name(unit),
        "project": project,
        "network": project,
        "compose": f"{folder}/containers/{group.name}.yaml",
        "user": group.user,
        "secrets": {name: f"{folder}/credentials/{name}" for name in process.credentials},
        "state": f"/var/lib/{group.user}",
        "log_file": group.log_file.path if group.log_file else "",
        "stop_seconds": platform.runtime.stop_timeout,
        **list_copies(platform.platform, unit, group.configuration.file if group.configuration else None),
    }
    name = f"containers/{unit.removesuffix('.service')}.json"
    return {name: GenerationFile(json.dumps(document, indent=2, sort_keys=True) + "\n", 0o600)}


def describe_container(
    platform: Platform, process: ProcessPlan, container: ContainerPlan, release: str, image: str
) -> dict[str, Any]:
    """The compose service of one process."""
    own = f"/opt/groundwork/{platform.platform}/releases/{release}/bin/python"
    return describe_service(platform, process, container, image, own if container.source == "runtime" else "")


def _add_instance(
    files: dict[str, GenerationFile],
    plan: HostPlan,
    process: ProcessPlan,
    release: str,
    services: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Add one instance's own files, and return what the host judges by whether it has to be restarted."""
    unit = process.process.unit_name
    instance = f"instances/{unit.removesuffix('.service')}.json"
    files[instance] = GenerationFile(process.instance, 0o640, process.group.user)
    read = [instance]
    if process.group.configuration:
        read.append(process.group.configuration.file)
    service = services.get(service_name(unit))
    data: dict[str, Any] = {
        "platform": plan.platform,
        "after": process.after,
        "assignments": [quote_unit_assignment(key, value) for key, value in sorted(process.variables.items())],
        "secret_files": sorted(process.secret_files.items()),
        "credentials": process.credentials,
        "addresses": process.addresses,
        "cards": cards_unit(plan.platform) if process.group.uses_gpu else "",
        "card_environment": environment_file(plan.platform, unit) if process.group.uses_gpu else "",
    }
    template = files[f"{UNITS}{process.process.unit}@.service"].content
    own = [release, template]
    if service is not None:
        # The container has its environment and its secrets from the compose project. Another's image does not change
        # with the release of the runtime package.
        data |= {"assignments": [], "secret_files": [], "credentials": [], "addresses": None}
        own = [template, json.dumps(service, sort_keys=True), files[f"containers/{unit[:-8]}.json"].content]
    parts = [*own, json.dumps(data, sort_keys=True), *(files[path].content for path in read)]
    revision = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    text = render_template("agent_runtime/instance.conf.j2", revision=revision, **data)
    files[f"{UNITS}{unit}.d/50-groundwork.conf"] = GenerationFile(text)
    # Written on the host when its cards were read back; who is older than it sees another part of a card.
    outside = [data["card_environment"]] if data["card_environment"] else []
    return {"revision": revision, "files": [*read, *outside], "credentials": list(process.credentials)}
