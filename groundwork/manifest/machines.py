"""The machines that a platform expects, and the hosts of its rehearsal lab."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from groundwork.manifest.values import Count, HostGroup, Model, Size


class Gpu(Model):
    """A card that the hosts of a group carry."""

    model: Annotated[str, Field(min_length=3, max_length=80)]
    count: Annotated[int, Field(strict=True, ge=1, le=16)] = 1
    sharing: Literal["auto", "mig", "mps", "time_slicing", "none"] = "auto"
    """How it may be shared; ``none`` gives it to one process."""


class Machine(Model):
    """What the hosts of an inventory group must have; checked before a deploy."""

    cores: Count | None = None
    memory: Size | None = None
    disk: Size | None = None
    network_bits_per_second: Annotated[int, Field(strict=True, ge=1)] | None = None
    gpus: list[Gpu] = []


class LabHost(Model):
    """One host of the rehearsal lab."""

    groups: Annotated[list[HostGroup], Field(min_length=1)]
    gpus: Annotated[list[Annotated[str, Field(min_length=3, max_length=80)]], Field(max_length=16)] = []
    """Models of the cards that test doubles of NVIDIA's programs show on it; they compute nothing."""


class Lab(Model):
    """The hosts that ``groundwork lab up`` boots for this platform."""

    hosts: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], LabHost], Field(min_length=1)]

    @field_validator("hosts", mode="before")
    @classmethod
    def _short_hosts(cls, value: Any) -> Any:
        """Let ``app: [app]`` stand for ``app: {groups: [app]}``."""
        if isinstance(value, dict):
            return {k: {"groups": v} if isinstance(v, list) else v for k, v in value.items()}
        return value
