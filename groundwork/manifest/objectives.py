"""Objectives: what is promised about parts of the platform, and where hardware use should stay."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import Duration, HostGroup, Model, Name, Percent


class Latency(Model):
    """So many percent of the requests are answered within ``threshold``."""

    percentile: Annotated[Percent, Field(gt=0, lt=100)]
    threshold: Annotated[Duration, Field(gt=0)]


class Objective(Model):
    """A promise about a part of the platform; becomes recording rules and alerts."""

    description: str = ""
    groups: list[Name] = []
    agents: list[Name] = []
    categories: list[Name] = []
    services: list[Name] = []
    exposure: list[Name] = []
    availability: Annotated[Percent, Field(gt=0, lt=100)] | None = None
    error_rate: Annotated[Percent, Field(gt=0, lt=100)] | None = None
    """Percent of requests that may fail."""
    latency: list[Latency] = []
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    """Throughput that must be reached under load."""
    window: Annotated[Duration, Field(ge=86400)] = 2_592_000.0
    team: Name | None = None

    @field_validator("latency", mode="before")
    @classmethod
    def _one_latency(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _promises_something(self) -> Objective:
        promised = (self.availability, self.error_rate, self.requests_per_second)
        if not self.latency and all(value is None for value in promised):
            raise PydanticCustomError(
                "groundwork",
                "promises nothing",
                {
                    "allowed": "at least one of availability, error_rate, latency, requests_per_second",
                    "given": None,
                },
            )
        if not (self.groups or self.agents or self.categories or self.services or self.exposure):
            raise PydanticCustomError(
                "groundwork",
                "is about nothing",
                {"allowed": "at least one of groups, agents, categories, services, exposure", "given": None},
            )
        return self


class Utilisation(Model):
    """Where the use of a host group's hardware should stay, in percent."""

    hosts: HostGroup
    gpu_minimum: Percent | None = None
    gpu_maximum: Percent | None = None
    cpu_maximum: Percent | None = None
    memory_maximum: Percent | None = None
