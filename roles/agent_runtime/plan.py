"""What one host is to carry: units, users, files and credentials. Pure: nothing is contacted or read."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from groundwork.manifest.agents import LogFile, Resources
from groundwork.manifest.platform import Platform
from groundwork.problems import Problem, ProblemError
from groundwork.topology.accounts import user_name
from groundwork.topology.model import Process, Topology
from groundwork.topology.order import process_dependencies
from groundwork.topology.secrets import process_secrets
from groundwork.topology.sharing import pipes_folder, process_user, sharing_of
from roles.agent_runtime.accounts import group_slice, group_target
from roles.agent_runtime.containers import ContainerPlan, plan_container
from roles.agent_runtime.environment import Variables, process_variables, render_configuration, render_instance
from roles.agent_runtime.network import permitted_addresses
from roles.agent_runtime.resources import Setting, add_limits, list_limits
from roles.agent_runtime.sandbox import build_sandbox, list_devices


@dataclass(frozen=True)
class ConfigurationPlan:
    """A group's configuration file, and what has to accept it."""

    file: str
    content: str
    candidate: str
    """What the check sees: the content with the variables that the units add."""
    check: tuple[str, ...]
    is_environment: bool


@dataclass(frozen=True)
class GroupPlan:
    """One agent group on the host."""

    name: str
    description: str
    user: str
    folder: str
    """Name of its folders below /var/lib and /var/cache."""
    slice: str
    target: str
    limits: tuple[Setting, ...]
    sandbox: tuple[Setting, ...]
    uses_gpu: bool
    pipes: str
    """Folder of the MPS daemons' pipes, for clients of one; empty for others."""
    configuration: ConfigurationPlan | None
    log_file: LogFile | None
    container: ContainerPlan | None = None
    """None for a group of processes."""


@dataclass(frozen=True)
class ProcessPlan:
    """One process on the host."""

    process: Process
    group: GroupPlan
    module: str
    resources: Resources
    limits: tuple[Setting, ...]
    after: tuple[str, ...]
    variables: Variables = field(hash=False)
    secret_files: Variables = field(hash=False)
    """``KEY_FILE`` to the credential's name."""
    credentials: tuple[str, ...]
    addresses: tuple[str, ...] | None
    instance: str


@dataclass(frozen=True)
class HostPlan:
    """Everything that one host carries of a platform's agents."""

    platform: str
    host: str
    groups: tuple[GroupPlan, ...] = ()
    processes: tuple[ProcessPlan, ...] = ()
    phases: tuple[tuple[str, ...], ...] = ()
    """Units in the order to restart them: of each layer first one instance per template, then the others."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """Names of all secrets that processes of the host are given."""
        return tuple(sorted({name for process in self.processes for name in process.credentials}))

    @property
    def log_files(self) -> tuple[tuple[GroupPlan, LogFile], ...]:
        """Groups with a log file."""
        return tuple((group, group.log_file) for group in self.groups if group.log_file)


def plan_host(platform: Platform, topology: Topology, host: str) -> HostPlan:
    """Decide what ``host`` carries. Raises ProblemError for what cannot be carried out."""
    processes = topology.processes_on(host)
    names = [name for name in platform.groups if any(process.group == name for process in processes)]
    problems = [*_check_groups(platform, names)]
    if problems:
        raise ProblemError(problems)
    groups = {name: _plan_group(platform, topology, host, name) for name in names}
    order = process_dependencies(platform, processes)
    planned = tuple(_plan_process(platform, topology, groups[p.group], p, order[p]) for p in processes)
    return HostPlan(platform.platform, host, tuple(groups.values()), planned, _list_phases(platform.platform, order))


def _check_groups(platform: Platform, names: list[str]) -> Iterator[Problem]:
    folders: dict[str, str] = {}
    for name in names:
        group = platform.groups[name]
        if group.log_file:
            folder = posixpath.dirname(group.log_file.path)
            other = folders.setdefault(folder, name)
            if process_user(platform, other) != process_user(platform, name):
                message = f"is in the same folder as the one of group {other}, which has another user"
                yield Problem(message, key=f"groups.{name}.log_file.path", given=group.log_file.path)


def _plan_group(platform: Platform, topology: Topology, host: str, name: str) -> GroupPlan:
    group = platform.groups[name]
    machine = platform.machines.get(group.hosts)
    cards = sum(card.count for card in machine.gpus) if machine else 0
    devices = list_devices(group.gpu.card, max(1, cards)) if group.gpu else ()
    configuration = None
    container = plan_container(platform, topology, host, group)
    if group.configuration:
        declared = group.configuration
        try:
            content, candidate = render_configuration(platform, topology, host, declared)
        except ValueError as error:
            key = f"groups.{name}.configuration.values"
            raise ProblemError([Problem(f"cannot be written to a file: {error}", key=key)]) from None
        env = declared.format == "env"
        configuration = ConfigurationPlan(declared.file, content, candidate, tuple(declared.check), env)
    return GroupPlan(
        name=name,
        description=group.description or f"agents of {name}",
        user=process_user(platform, name).name,
        folder=user_name(platform.platform, name),
        slice=group_slice(platform.platform, name),
        target=group_target(platform.platform, name),
        limits=list_limits(group.resources),
        sandbox=build_sandbox(devices, group.allow_code_generation),
        uses_gpu=bool(devices),
        pipes=pipes_folder(platform.platform) if sharing_of(platform, name) == "mps" else "",
        configuration=configuration,
        log_file=group.log_file,
        container=container,
    )


def _plan_process(
    platform: Platform, topology: Topology, group: GroupPlan, process: Process, after: tuple[str, ...]
) -> ProcessPlan:
    agents = platform.groups[process.group].agents
    key = f"groups.{process.group}.environment"
    try:
        variables, secret_files = process_variables(platform, topology, process)
    except ValueError as error:
        raise ProblemError([Problem(f"cannot be put into the environment: {error}", key=key)]) from None
    resources = add_limits([agents[name].resources for name in {a.agent: None for a in process.agents}])
    return ProcessPlan(
        process=process,
        group=group,
        resources=resources,
        module=platform.runtime.launcher or process.agents[0].module,
        limits=list_limits(resources),
        after=after,
        variables=variables,
        secret_files=secret_files,
        credentials=tuple(sorted(process_secrets(platform, process))),
        addresses=permitted_addresses(topology, process),
        instance=render_instance(platform, topology, process),
    )


def _list_phases(platform: str, order: Mapping[Process, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Layers by dependency, each with one instance per template first: a release that does not work then takes
    down one instance of each, and the others go on serving."""
    members: dict[str, list[str]] = {}
    for process in order:
        members.setdefault(group_target(platform, process.group), []).append(process.unit_name)
    depths: dict[str, int] = {}
    needed = {process.unit_name: after for process, after in order.items()}

    def depth(unit: str) -> int:
        if unit not in depths:
            befores = [m for name in needed[unit] for m in members.get(name, [name]) if m in needed]
            depths[unit] = 1 + max(map(depth, befores), default=-1)
        return depths[unit]

    phases: dict[tuple[int, bool], list[str]] = {}
    for process in order:
        phases.setdefault((depth(process.unit_name), process.index > 1), []).append(process.unit_name)
    return tuple(tuple(sorted(phases[key])) for key in sorted(phases))
