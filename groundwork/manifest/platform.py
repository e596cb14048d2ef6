"""The manifest of one platform: everything that is declared about it, validated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from groundwork.manifest.agents import Agent, AgentGroup
from groundwork.manifest.backup import Backup, MaintenanceWindow, Recovery, Schedule
from groundwork.manifest.exposure import Exposure
from groundwork.manifest.firewall import Firewall
from groundwork.manifest.machines import Lab, Machine
from groundwork.manifest.objectives import Objective, Utilisation
from groundwork.manifest.observability import Observability
from groundwork.manifest.runtime import Runtime
from groundwork.manifest.secrets import SecretDeclaration
from groundwork.manifest.services import SERVICE_KINDS, Service
from groundwork.manifest.trials import Trials
from groundwork.manifest.values import HostGroup, Model, Name
from groundwork.manifest.workflows import Workflow


class Platform(Model):
    """One platform, as its manifest and the environment's overlay declare it."""

    version: Literal[1] = 1
    """Version of the manifest's format."""
    platform: Annotated[Name, Field(max_length=20)]
    """The platform's name; units, users and folders on the hosts begin with it."""
    description: str = ""
    runtime: Runtime
    machines: dict[HostGroup, Machine] = {}
    """What the hosts of each inventory group must have."""
    groups: Annotated[dict[Name, AgentGroup], Field(min_length=1)]
    services: dict[Name, Service] = {}
    exposure: dict[Name, Exposure] = {}
    firewall: Firewall = Firewall()
    objectives: dict[Name, Objective] = {}
    utilisation: list[Utilisation] = []
    observability: Observability = Observability()
    backup: Backup | None = None
    recovery: Recovery | None = None
    maintenance: dict[Name, MaintenanceWindow] = {}
    schedules: dict[Name, Schedule] = {}
    secrets: dict[Name, SecretDeclaration] = {}
    workflows: dict[Name, Workflow] = {}
    """Tasks that agents solve together."""
    trials: Trials = Trials()
    """The load it must carry and the faults it must survive."""
    lab: Lab

    @field_validator("services", mode="before")
    @classmethod
    def _kind_from_name(cls, value: Any) -> Any:
        """A service named like its kind need not repeat it."""
        if not isinstance(value, dict):
            return value
        return {
            name: {"kind": name, **(service or {})}
            if name in SERVICE_KINDS and isinstance(service, dict | None)
            else service
            for name, service in value.items()
        }

    def agents(self) -> dict[str, tuple[str, Agent]]:
        """Return every agent by name, with the name of its group (agent names are unique)."""
        return {
            agent: (group, declared)
            for group, members in self.groups.items()
            for agent, declared in members.agents.items()
        }
