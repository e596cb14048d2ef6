"""Groups that run as containers: where their image comes from, and what their processes find inside."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Literal

from groundwork.addresses import join
from groundwork.authority import paths
from groundwork.manifest.agents import AgentGroup
from groundwork.manifest.platform import Platform
from groundwork.topology.containers import container_pool
from groundwork.topology.model import AgentInstance, Topology
from roles.agent_runtime.environment import Variables, split_values

RUN_FOLDER = "/run/groundwork/containers"
"""Where each unit's copies are on the host (onhost/container_files.py)."""
SECRETS = "/run/secrets"
"""Where secrets are in a container, as with every compose project."""
INSIDE = "/run/groundwork"
"""Where a container finds the socket of the service manager and the probe."""


@dataclass(frozen=True)
class ContainerPlan:
    """How one group's containers are made on one host."""

    image: str
    """As declared: a digest reference, or a name for what is built."""
    source: Literal["runtime", "build", "registry"]
    build: str = ""
    """Folder of the Dockerfile, from the manifest's folder."""
    signature_key: str = ""
    """File of the key, from the manifest's folder."""
    pool: str = ""
    """Network that the containers' addresses are from."""
    configuration: Variables = field(default_factory=dict, hash=False)
    """The plain values of a configuration file of environment variables."""
    configuration_secrets: Variables = field(default_factory=dict, hash=False)

    @property
    def repository(self) -> str:
        """The declared name without a tag; what is built is tagged by its content."""
        folder, slash, name = self.image.partition("@")[0].rpartition("/")
        return f"{folder}{slash}{name.partition(':')[0]}"


def plan_container(platform: Platform, topology: Topology, host: str, group: AgentGroup) -> ContainerPlan | None:
    """Decide how a group's containers are made; None for a group of processes. Raises ProblemError, ValueError."""
    declared = group.container
    if group.mode != "container" or declared is None:
        return None
    plain: Variables = {}
    secrets: Variables = {}
    if group.configuration and group.configuration.format == "env":
        plain, secrets = split_values(platform, topology, host, group.configuration.values)
    return ContainerPlan(
        image=declared.image,
        source="registry" if declared.is_pulled else "runtime" if declared.is_runtime else "build",
        build=declared.build or "",
        signature_key=declared.signature_key or "",
        pool=container_pool(topology.inventory.host(host)),
        configuration=plain,
        configuration_secrets=secrets,
    )


def service_name(unit: str) -> str:
    """Name of the compose service and of the container of a unit: ``chorus-planner-1``."""
    return unit.removesuffix(".service").replace("@", "-")


def project_name(platform: str, group: str) -> str:
    """Name of a group's compose project, and of its network on a host."""
    return f"{platform}-{group}"


def unit_folder(unit: str) -> str:
    """The folder with what a unit's container reads."""
    return posixpath.join(RUN_FOLDER, unit.removesuffix(".service"))


def list_copies(platform: str, unit: str, configuration: str | None) -> dict[str, dict[str, str]]:
    """What is copied for a container: names below ``etc`` to the files of the host."""
    name = unit.removesuffix(".service")
    folder = f"{paths.CONFIGURATION}/{platform}"

    def below(*found: str) -> dict[str, str]:
        return {path.removeprefix(f"{folder}/"): path for path in found}

    files = [f"{folder}/instances/{name}.json", *([f"{folder}/{configuration}"] if configuration else [])]
    return {
        "files": below(*files),
        "trust": below(paths.bundle(platform), paths.revocation_list(platform)),
        "certificates": below(paths.certificate_folder(platform, name)),
    }


def publish_ports(agents: tuple[AgentInstance, ...]) -> list[str]:
    """Ports in the short syntax of compose: published at the agent's own address and nowhere else."""
    found = []
    for agent in agents:
        if agent.port is not None:
            found.append(f"{join(agent.address, agent.port)}:{agent.port}/tcp")
    return found
