"""Trials: the load that the platform must carry, and the faults that it must survive."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import Count, Duration, Model, Name, Percent


class Load(Model):
    """A load for measurements: where it goes, its shape over time, and what must hold under it."""

    description: str = ""
    agents: list[Name] = []
    groups: list[Name] = []
    exposure: list[Name] = []
    services: list[Name] = []
    pattern: Literal["steady", "ramp_up", "spike", "burst", "sine_wave"] = "steady"
    work: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)] | None = None
    """Kind of request, such as ``conversation``; the runtime defines what it holds."""
    users: Count | None = None
    """Users at the same time (the most, where the pattern varies)."""
    rate: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Requests per second (the most, where the pattern varies)."""
    duration: Annotated[Duration, Field(ge=1, le=86_400)] = 60.0
    maximum_error_rate: Percent | None = None
    """Percent of requests that may fail."""

    @model_validator(mode="after")
    def _is_aimed_and_sized(self) -> Load:
        if not (self.agents or self.groups or self.exposure or self.services):
            raise PydanticCustomError(
                "groundwork",
                "is aimed at nothing",
                {"allowed": "at least one of agents, groups, exposure, services", "given": None},
            )
        if self.users is None and self.rate is None:
            raise PydanticCustomError("groundwork", "has no size", {"allowed": "users, rate, or both", "given": None})
        return self


class Fault(Model):
    """A fault that is injected on purpose during a resilience run."""

    description: str = ""
    kind: Literal[
        "latency", "errors", "crash", "partition", "gpu_pressure", "memory_pressure", "cpu_pressure", "disk_full"
    ]
    groups: list[Name] = []
    services: list[Name] = []
    duration: Annotated[Duration, Field(ge=1, le=3600)] = 60.0
    delay: Duration | None = None
    """``latency``: what is added to each answer."""
    percent: Percent | None = None
    """``errors``: requests that fail; pressure: share of the resource that is taken."""
    recovery: Annotated[Duration, Field(gt=0, le=86_400)] = 60.0
    """Time after the fault within which the objectives hold again."""

    @model_validator(mode="after")
    def _is_aimed(self) -> Fault:
        if not (self.groups or self.services):
            raise PydanticCustomError(
                "groundwork", "is aimed at nothing", {"allowed": "at least one of groups, services", "given": None}
            )
        if self.kind == "latency" and self.delay is None:
            raise PydanticCustomError(
                "groundwork", "latency has no delay", {"allowed": "delay, such as 200ms", "given": None}
            )
        return self


class Trials(Model):
    """What load and resilience runs do with the platform."""

    loads: dict[Name, Load] = {}
    faults: dict[Name, Fault] = {}
