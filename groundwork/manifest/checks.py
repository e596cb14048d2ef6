"""What must hold between the parts of a manifest: names that exist, references that point somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from groundwork.manifest.agents import AgentGroup, Container, Need
from groundwork.manifest.configuration import check_configuration
from groundwork.manifest.names import Names, unknown_name
from groundwork.manifest.platform import Platform
from groundwork.manifest.references import check_references
from groundwork.manifest.sensitive import looks_secret, names_secret
from groundwork.manifest.services import NatsService
from groundwork.manifest.streams import check_streams
from groundwork.manifest.values import Reference
from groundwork.problems import Problem

_NEED_FIELDS = {
    "keys": ("redis", "consul"),
    "channels": ("redis",),
    "publish": ("nats",),
    "subscribe": ("nats",),
    "streams": ("nats",),
}


def check(platform: Platform, folder: Path) -> list[Problem]:
    """Return every mistake between parts of ``platform``; ``folder`` is where relative paths start."""
    names = Names(platform)
    problems = [
        *names.clashes(),
        *_check_groups(platform, names),
        *_check_exposure(platform, names),
        *_check_services(platform),
        *check_references(platform, names),
    ]
    for key, path in _paths(platform):
        if not (folder / path).exists():
            problems.append(Problem("there is no such file or folder", key=key, given=path))
    if not problems:
        for name, group in platform.groups.items():
            if group.configuration:
                problems += check_configuration(platform, name, group.configuration, folder)
    return problems


def _check_groups(platform: Platform, names: Names) -> Iterator[Problem]:
    for name, group in platform.groups.items():
        key = f"groups.{name}"
        yield from _check_needs(f"{key}.needs", group.needs, platform, names)
        yield from _check_values(f"{key}.environment", group.environment, names)
        if group.configuration:
            yield from _check_values(f"{key}.configuration.values", group.configuration.values, names)
        for index, other in enumerate(group.after):
            if other not in names.groups:
                yield unknown_name("group", f"{key}.after.{index}", other, names.groups)
        yield from _check_mode(key, group, platform)
        for agent_name, agent in group.agents.items():
            here = f"{key}.agents.{agent_name}"
            yield from _check_needs(f"{here}.needs", agent.needs, platform, names)
            yield from _check_values(f"{here}.environment", agent.environment, names)
            for index, other in enumerate(agent.after):
                if other not in names.agents:
                    yield unknown_name("agent", f"{here}.after.{index}", other, names.agents)
            runs_module = group.container.is_runtime if group.container else group.mode == "process"
            if agent.module is None and group.module is None and runs_module:
                yield Problem("is required and missing", key=f"{here}.module", allowed="here or at the group")
            if agent.port is not None and agent.port + agent.replicas - 1 > 65535:
                yield Problem(
                    "the last replica's port is above 65535",
                    key=f"{here}.port",
                    given=f"{agent.port} with {agent.replicas} replicas",
                )


def _check_mode(key: str, group: AgentGroup, platform: Platform) -> Iterator[Problem]:
    if (group.mode == "container") != (group.container is not None):
        yield Problem("mode container and the section container belong together", key=key, given=group.mode)
    if group.container:
        yield from _check_container(f"{key}.container", group.container)
    if group.processes is not None:
        total = sum(agent.replicas for agent in group.agents.values())
        if group.processes > total:
            yield Problem(
                "more processes than agents",
                key=f"{key}.processes",
                given=str(group.processes),
                allowed=f"1 to {total}",
            )
        if platform.runtime.launcher is None:
            yield Problem(
                "packing needs a launcher",
                key=f"{key}.processes",
                given=str(group.processes),
                allowed="runtime.launcher",
            )


def _check_container(key: str, container: Container) -> Iterator[Problem]:
    digest = "NAME@sha256:DIGEST"
    if container.build is not None and container.is_pulled:
        message = "an image that is built here has no digest yet"
        yield Problem(message, key=f"{key}.image", given=container.image, allowed="NAME or NAME:TAG, or no build")
    if container.signature_key is not None and not container.is_pulled:
        message = "only an image that is pulled by its digest has a signature"
        yield Problem(message, key=f"{key}.signature_key", given=container.image, allowed=f"an image by {digest}")
    registry = container.image.partition("/")[0] if "/" in container.image else ""
    if container.is_runtime and ("." in registry or ":" in registry):
        message = "an image of a registry is declared by its digest"
        yield Problem(message, key=f"{key}.image", given=container.image, allowed=digest)


def _check_needs(key: str, needs: list[Need], platform: Platform, names: Names) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, need in enumerate(needs):
        here = f"{key}.{index}"
        if need.name not in names.needable:
            yield unknown_name("service, group or agent", here, need.name, names.needable)
            continue
        if need.name in seen:
            yield Problem("is needed twice", key=here, given=need.name)
        seen.add(need.name)
        service = platform.services.get(need.name)
        kind = service.kind if service else "agent"
        for field, fits in _NEED_FIELDS.items():
            if getattr(need, field) and kind not in fits:
                yield Problem(
                    f"{field} is for {' and '.join(fits)} only", key=f"{here}.{field}", given=f"{need.name} ({kind})"
                )
        if isinstance(service, NatsService):
            for number, use in enumerate(need.streams):
                if use.name not in service.streams:
                    yield unknown_name("stream", f"{here}.streams.{number}", use.name, service.streams)
        if need.database is not None:
            databases = getattr(service, "databases", None)
            if kind != "postgresql" or not isinstance(databases, dict):
                yield Problem("database is for postgresql only", key=f"{here}.database", given=f"{need.name} ({kind})")
            elif need.database not in databases:
                yield unknown_name("database", f"{here}.database", need.database, databases)


def _check_services(platform: Platform) -> Iterator[Problem]:
    for name, service in platform.services.items():
        if isinstance(service, NatsService):
            yield from check_streams(f"services.{name}.streams", service.streams)


def _check_values(key: str, values: dict[str, Any], names: Names) -> Iterator[Problem]:
    for name, value in values.items():
        if not isinstance(value, Reference):
            if (names_secret(name) and isinstance(value, str) and value) or looks_secret(value):
                yield Problem(
                    "a secret's value is written out", "", 0, f"{key}.{name}", "(not shown)", "{secret: NAME}"
                )
            continue
        if value.kind == "secret":
            if value.target not in names.secrets:
                yield unknown_name("secret", f"{key}.{name}", value.target, names.secrets)
        elif value.target not in names.services | names.agents:
            yield unknown_name("service or agent", f"{key}.{name}", value.target, names.services | names.agents)


def _check_exposure(platform: Platform, names: Names) -> Iterator[Problem]:
    agents = platform.agents()
    for name, site in platform.exposure.items():
        if site.tls.key_secret and site.tls.key_secret not in names.secrets:
            yield unknown_name("secret", f"exposure.{name}.tls.key_secret", site.tls.key_secret, names.secrets)
        for path, route in site.routes.items():
            here = f"exposure.{name}.routes.{path}"
            if route.agent and route.agent not in agents:
                yield unknown_name("agent", here, route.agent, agents)
            elif route.agent and agents[route.agent][1].port is None:
                yield Problem("the agent has no port", key=here, given=route.agent)
            if route.group and route.group not in names.groups:
                yield unknown_name("group", here, route.group, names.groups)


def _paths(platform: Platform) -> Iterator[tuple[str, str]]:
    """Every path in the manifest that must exist on the controller."""
    package = platform.runtime.package
    for key, path in (
        ("runtime.package.wheel", package.wheel),
        ("runtime.package.directory", package.directory),
        ("runtime.requirements", platform.runtime.requirements),
    ):
        if path:
            yield key, path
    if platform.observability.prometheus:
        for number, path in enumerate(platform.observability.prometheus.objective_files):
            yield f"observability.prometheus.objective_files.{number}", path
    for name, group in platform.groups.items():
        if group.configuration and group.configuration.configuration_schema:
            yield f"groups.{name}.configuration.schema", group.configuration.configuration_schema
        if group.container and group.container.build:
            yield f"groups.{name}.container.build", group.container.build
        if group.container and group.container.signature_key:
            yield f"groups.{name}.container.signature_key", group.container.signature_key
    for name, service in platform.services.items():
        for database_name, database in (
            getattr(service, "databases", {}).items() if service.kind == "postgresql" else ()
        ):
            if database.migrations:
                yield f"services.{name}.databases.{database_name}.migrations", database.migrations
    for name, site in platform.exposure.items():
        if site.tls.certificate:
            yield f"exposure.{name}.tls.certificate", site.tls.certificate
        for path, route in site.routes.items():
            if route.static:
                yield f"exposure.{name}.routes.{path}.static", route.static
