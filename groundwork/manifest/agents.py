"""Agent groups: what runs together, where, with which resources, and what it needs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.probes import Probe, Scaling
from groundwork.manifest.streams import StreamUse
from groundwork.manifest.values import (
    AnyValue,
    Count,
    EnvironmentName,
    Flag,
    HostGroup,
    Model,
    ModuleName,
    Name,
    Port,
    Size,
)


class Need(Model):
    """Something that a group or an agent uses; gives it access, and network reach, to exactly that."""

    name: Name
    """A service, an agent group or an agent of this manifest."""
    required: Flag = True
    """Whether it must be ready first. ``false`` opens the way without ordering the start."""
    keys: list[str] = []
    """Redis: key patterns; default ``<platform>:*``. Consul: keys, or what they begin with as ``ymera/*``; default
    ``<platform>/*``."""
    channels: list[str] = []
    """Redis: publish/subscribe channel patterns."""
    publish: list[str] = []
    """NATS: subjects it may publish to."""
    subscribe: list[str] = []
    """NATS: subjects it may subscribe to."""
    streams: list[StreamUse] = []
    """NATS: streams whose consumers it takes messages from; a stream's name alone is enough."""
    database: Name | None = None
    """PostgreSQL: which database of the service."""
    access: Literal["read", "read_write", "owner"] = "read_write"
    """Redis, PostgreSQL and Consul: what it may do there."""

    @field_validator("streams", mode="before")
    @classmethod
    def _short_streams(cls, value: Any) -> Any:
        return expand_needs(value)


class Resources(Model):
    """Limits of a group's slice or of one agent's process (systemd.resource-control)."""

    cpu_weight: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    """Share of the processor under contention; 100 is the usual weight."""
    cpu_quota: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    """Percent of one processor that may be used at most: 250 is two and a half processors."""
    memory_high: Size | None = None
    """Above this the processes are slowed down and reclaimed."""
    memory_max: Size | None = None
    """Above this the kernel kills within the group."""
    memory_request: Size | None = None
    """What it is expected to use; summed up against the host by the checks before a deploy."""
    cpu_request: Annotated[float, Field(gt=0, le=1024)] | None = None
    """Processors it is expected to use."""
    tasks_max: Annotated[int, Field(strict=True, ge=1, le=4_194_304)] | None = None
    """Processes and threads at most."""


class GpuShare(Model):
    """A share of a GPU for each of the group's processes: one of fraction, mig_profile, mps."""

    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Part of one card; becomes a MIG instance where the card has MIG, an MPS client where not."""
    mig_profile: Annotated[str, Field(pattern=r"^\d+(c\.\d+)?g\.\d+gb(\+[a-z0-9.]+)?$")] | None = None
    """A MIG profile by name, such as ``1g.10gb``."""
    thread_percentage: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    """MPS: share of the card's threads."""
    memory: Size | None = None
    """MPS: device memory limit per process."""
    mode: Literal["auto", "mig", "mps", "time_slicing"] = "auto"
    """``auto`` picks MIG where every declared card has it, else MPS. ``mps`` with a ``mig_profile`` gives the group one
    instance, which its processes share."""
    card: Annotated[int, Field(strict=True, ge=0, le=15)] | None = None
    """Index of the card as nvidia-smi counts, where it matters."""

    @model_validator(mode="after")
    def _one_measure(self) -> GpuShare:
        given = [k for k in ("fraction", "mig_profile", "thread_percentage") if getattr(self, k) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "groundwork",
                "needs exactly one measure of the share",
                {
                    "allowed": "one of fraction, mig_profile, thread_percentage",
                    "given": ", ".join(given) or "none",
                },
            )
        return self


class LogFile(Model):
    """A log file beside the journal, for systems whose operators expect one."""

    path: Annotated[str, Field(pattern=r"^/var/log/[a-z0-9][a-z0-9._/-]*\.log$", max_length=200)]
    maximum_bytes: Annotated[int, Field(strict=True, ge=4096)] = 52_428_800
    """Size at which the file is rotated."""
    backups: Annotated[int, Field(strict=True, ge=0, le=1000)] = 10
    """Rotated files kept."""

    @field_validator("path")
    @classmethod
    def _stays_below(cls, path: str) -> str:
        if ".." in path.split("/") or path.count("/") < 4:
            raise PydanticCustomError(
                "groundwork",
                "is not a file in a folder of its own",
                {"allowed": "/var/log/FOLDER/FILE.log", "given": path},
            )
        return path


class Configuration(Model):
    """The configuration file of a group's processes, checked before it replaces the former one."""

    file: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
    """File name below ``/etc/groundwork/<platform>/``."""
    format: Literal["env", "json"] = "env"
    """``env``: KEY=value lines, also read into the processes' environment; ``json``: one object."""
    values: dict[str, AnyValue] = {}
    """The settings; keys of format ``env`` are environment variable names."""
    configuration_schema: Annotated[str | None, Field(alias="schema")] = None
    """Path of a JSON Schema (from the manifest's folder); values are checked before a host is contacted."""
    check: list[str] = []
    """Arguments for the release's Python that check the file on the host, ``{file}`` being the candidate:
    ``[-m, my_runtime.validate, --env-file, "{file}"]``. Exit status 0 accepts it."""


class Container(Model):
    """How a group runs as containers in place of processes."""

    image: Annotated[str, Field(pattern=r"^[a-z0-9][a-zA-Z0-9./:_-]*(@sha256:[0-9a-f]{64})?$", max_length=300)]
    """Image reference. By digest (``name@sha256:...``) it is pulled; any other is the name of what is built on the
    host: from ``build``, or from the runtime package where that is left out."""
    build: str | None = None
    """Folder with a Dockerfile to build on the host, from the manifest's folder."""
    signature_key: str | None = None
    """Path of the public key that must have signed the image (cosign)."""

    @property
    def is_pulled(self) -> bool:
        """Whether the image comes from a registry, by its digest."""
        return "@" in self.image

    @property
    def is_runtime(self) -> bool:
        """Whether the image is made on the host from the platform's runtime package."""
        return not self.is_pulled and self.build is None


class Agent(Model):
    """One kind of agent of a group."""

    description: str = ""
    module: ModuleName | None = None
    """Python module; the group's ``module`` where it is left out."""
    port: Port | None = None
    """Port of the first replica; replica n listens on ``port + n - 1``."""
    replicas: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    """Instances on each host of the group."""
    environment: dict[EnvironmentName, AnyValue] = {}
    needs: list[Need] = []
    after: list[Name] = []
    """Agents that must be ready before this one starts."""
    resources: Resources = Resources()
    scaling: Scaling | None = None
    liveness: Probe | None = None
    """When to ask ``health_path``, for container platforms; systemd uses the watchdog of the runtime section."""
    readiness: Probe | None = None
    """When to ask ``ready_path``, for container platforms and the reverse proxy."""
    health_subject: Annotated[str, Field(pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$", max_length=200)] | None = None
    """NATS subject on which it answers questions about its health."""
    health_path: Annotated[str, Field(pattern=r"^/")] = "/health"
    ready_path: Annotated[str, Field(pattern=r"^/")] = "/ready"
    metrics_path: Annotated[str, Field(pattern=r"^/")] | None = "/metrics"
    """Where Prometheus scrapes; ``null`` cannot be told from absent, so agents without a port have none."""

    @field_validator("needs", mode="before")
    @classmethod
    def _short_needs(cls, value: Any) -> Any:
        return expand_needs(value)


class AgentGroup(Model):
    """Agents that run on the same hosts, under one limit, with one identity and one set of rights."""

    description: str = ""
    category: Name | None = None
    """Kind of work, such as ``gpu`` or ``language``; objectives can refer to it."""
    hosts: HostGroup
    """Inventory group whose hosts all run this group."""
    mode: Literal["process", "container"] = "process"
    container: Container | None = None
    processes: Count | None = None
    """Packs the group's agents into this many processes per host; one process per replica where left out."""
    module: ModuleName | None = None
    """Module of agents that name none."""
    agents: Annotated[dict[Name, Agent], Field(min_length=1)]
    environment: dict[EnvironmentName, AnyValue] = {}
    configuration: Configuration | None = None
    needs: list[Need] = []
    after: list[Name] = []
    """Groups that must be ready before this one starts; needs order the start by themselves."""
    resources: Resources = Resources()
    """Limits of the group's slice, for all its processes together."""
    gpu: GpuShare | None = None
    log_file: LogFile | None = None
    allow_code_generation: Flag = False
    """Allows writable and executable memory, which just-in-time compilers need."""

    @field_validator("needs", mode="before")
    @classmethod
    def _short_needs(cls, value: Any) -> Any:
        return expand_needs(value)


def expand_needs(value: Any) -> Any:
    """Let ``needs: [redis]`` stand for ``needs: [{name: redis}]``; streams of a need alike."""
    if isinstance(value, list):
        return [{"name": item} if isinstance(item, str) else item for item in value]
    return value
