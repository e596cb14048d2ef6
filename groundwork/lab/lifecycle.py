"""Bringing a lab up and taking it down; each step is repeatable, so a killed run is completed by the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import docker

from groundwork.lab.boot import wait_for_boot
from groundwork.lab.engine import connect, ensure_engine, is_installed, started_here, stop_engine
from groundwork.lab.errors import lab_error
from groundwork.lab.hosts import HostStatus, ensure_host, read_status, remove_hosts
from groundwork.lab.image import ensure_image, remove_images
from groundwork.lab.inventory import build_inventory
from groundwork.lab.keys import ensure_host_keys, ensure_key
from groundwork.lab.network import SubnetTakenError, ensure_network, remove_networks, taken_networks
from groundwork.lab.phases import Phases
from groundwork.lab.plan import (
    DEFAULT_PLATFORM,
    DEFAULT_RELEASE,
    WantedHost,
    check_same_hosts,
    check_unchanged,
    plan_lab,
    read_lab_hosts,
)
from groundwork.lab.recipe import check_release, derive_recipe
from groundwork.lab.state import LabSpec, LabState, checkout_root, list_names, locked, remove_locks
from groundwork.problems import Problem, ProblemError

# Creating a host is disk-bound in the engine; more at once are not quicker.
PARALLEL_HOSTS = 6
SUBNET_ATTEMPTS = 8


@dataclass(frozen=True)
class BootedHost:
    """One host after ``up``: what was done to it and what systemd says (``running`` or ``degraded``)."""

    name: str
    address: str
    groups: tuple[str, ...]
    action: str
    state: str


@dataclass(frozen=True)
class BootedLab:
    """A lab whose hosts answer over SSH."""

    spec: LabSpec
    hosts: tuple[BootedHost, ...]
    image_built: bool


@dataclass
class Removal:
    """What ``down`` removed."""

    name: str
    hosts: int = 0
    networks: int = 0
    images: list[str] = field(default_factory=list)
    engine_stopped: bool = False


def boot_lab(
    name: str,
    platform: str | None,
    release: str | None,
    phases: Phases,
    *,
    whole_manifest: bool = True,
    hosts: dict[str, WantedHost] | None = None,
) -> BootedLab:
    """Bring a lab's hosts up and write its inventory; ``platform`` and ``release`` None mean "as it is".

    ``whole_manifest`` False ignores mistakes outside the manifest's section ``lab``; ``hosts`` (by name) are
    brought up instead of the manifest's.

    Raises ProblemError; what was made until then stays and is used by the next call.
    """
    root = checkout_root()
    state = LabState(name, root)
    with _lab_lock(root, name):
        spec = state.read_spec()
        if spec is not None:
            check_unchanged(spec, platform, release)
        platform = platform or (spec.platform if spec else DEFAULT_PLATFORM)
        release = check_release(release or (spec.release if spec else DEFAULT_RELEASE))
        wanted = hosts or read_lab_hosts(root, platform, whole=whole_manifest)
        if spec is not None:
            spec = check_same_hosts(spec, wanted)
        with engine_kept(root):
            with phases.phase("engine"):
                client = ensure_engine(root, phases.note)
            with phases.phase("image"):
                image, built = _choose_image(client, root, spec, release, phases)
            with phases.phase("hosts"):
                plan = partial(plan_lab, name, platform, release, image, wanted)
                spec = _settle_network(client, root, state, replace(spec, image=image) if spec else None, plan)
                booted = _boot_hosts(client, root, state, spec, phases)
                state.write_inventory(build_inventory(state, spec))
    return BootedLab(spec, tuple(booted), built)


def _choose_image(
    client: docker.DockerClient, root: Path, spec: LabSpec | None, release: str, phases: Phases
) -> tuple[str, bool]:
    """Return the image for hosts that are still to be made, and whether it was built now."""
    if spec and all(status.state not in ("missing", "created") for status in read_status(client, root, spec)):
        return spec.image, False
    recipe = derive_recipe(release)
    return recipe.tag, ensure_image(client, recipe, root, phases.note)


def _settle_network(
    client: docker.DockerClient,
    root: Path,
    state: LabState,
    spec: LabSpec | None,
    plan: Callable[[list[IPv4Network]], LabSpec],
) -> LabSpec:
    """Record the lab and make its network. While no host exists, a subnet that was lost to another is replaced."""
    state.create()
    lost = list[IPv4Network]()
    for _ in range(SUBNET_ATTEMPTS):
        # The engine lists a network only once it is complete, but refuses its subnet from the first moment.
        spec = spec or plan([*taken_networks(client), *lost])
        state.write_spec(spec)
        try:
            ensure_network(client, root, spec.name, spec.subnet)
        except SubnetTakenError:
            if any(status.state != "missing" for status in read_status(client, root, spec)):
                raise
            lost.append(IPv4Network(spec.subnet))
            spec = None
            continue
        return spec
    raise lab_error("no private network could be made: others take each one first")


def _boot_hosts(
    client: docker.DockerClient, root: Path, state: LabState, spec: LabSpec, phases: Phases
) -> Sequence[BootedHost]:
    login = ensure_key(state.key_file, f"groundwork-lab-{spec.name}").public
    host_keys = ensure_host_keys(state, spec)

    def boot(index: int) -> BootedHost:
        host = spec.hosts[index]
        action = ensure_host(client, root, spec, host, host_keys[host.name], login)
        systemd = wait_for_boot(host.name, host.address, state.key_file, state.known_hosts_file)
        phases.note(f"{host.name} ({host.address}) {action}, systemd says {systemd}")
        return BootedHost(host.name, host.address, host.groups, action, systemd)

    booted, problems = [], list[Problem]()
    with ThreadPoolExecutor(PARALLEL_HOSTS) as pool:
        for future in [pool.submit(boot, index) for index in range(len(spec.hosts))]:
            try:
                booted.append(future.result())
            except ProblemError as error:
                problems += error.problems
    if problems:
        raise ProblemError(problems)
    return booted


def remove_lab(name: str, *, purge: bool = False) -> Removal:
    """Remove every trace of one lab; nothing is an error where nothing is there.

    The daemon that this checkout started is stopped when no lab is left. ``purge`` removes the base images too.
    """
    root = checkout_root()
    state = LabState(name, root)
    removal = Removal(name)
    with _lab_lock(root, name):
        client = connect()
        if client is None and (state.folder.exists() or purge):
            # The machine was restarted, or the daemon stopped: the containers are still on its disk.
            client = _start_for_removal(root)
        if client is not None:
            removal.hosts = remove_hosts(client, root, name)
            removal.networks = remove_networks(client, root, name)
        state.remove()
    if client is not None and purge and not list_names(root):
        removal.images = remove_images(client)
    if client is not None and not list_names(root) and started_here(root) and not client.containers.list(all=True):
        with locked(_engine_lock(root), wait=False) as free:
            if free:
                removal.engine_stopped = stop_engine(root)
    _tidy(root)
    return removal


def _start_for_removal(root: Path) -> docker.DockerClient | None:
    return ensure_engine(root, lambda text: None) if is_installed() else None


def read_lab(name: str) -> tuple[LabSpec, list[HostStatus]]:
    """Return a lab's specification and each host's state; ProblemError where there is no such lab."""
    root = checkout_root()
    spec = LabState(name, root).read_spec()
    if spec is None:
        option = "" if name == "default" else f" --name {name}"
        raise lab_error(f"no lab named {name}: ./gw lab up{option}")
    client = connect()
    if client is None:
        return spec, [HostStatus(host, "engine not running") for host in spec.hosts]
    return spec, read_status(client, root, spec)


def _engine_lock(root: Path) -> Path:
    return root / ".lab" / ".locks" / ".engine"


def engine_kept(root: Path) -> AbstractContextManager[bool]:
    """While this lasts, no ``down`` of the checkout stops the engine, even where no lab is left."""
    return locked(_engine_lock(root), shared=True)


@contextmanager
def _lab_lock(root: Path, name: str) -> Iterator[None]:
    """Two commands on one lab must not run at once; the second is told so instead of waiting for minutes."""
    (root / ".lab").mkdir(mode=0o700, exist_ok=True)
    with locked(root / ".lab" / ".locks" / name, wait=False) as free:
        if not free:
            raise lab_error(f"another command is working on lab {name}; wait for it or stop it")
        yield


def _tidy(root: Path) -> None:
    """Remove lock files and folders that no lab needs any more."""
    if list_names(root):
        return
    folder = root / ".lab"
    remove_locks(folder / ".locks")
    with suppress(OSError):
        folder.rmdir()
