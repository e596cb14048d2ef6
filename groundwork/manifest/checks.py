"""What must hold between the parts of a manifest: names that exist, references that point somewhere."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema

from groundwork.manifest.agents import AgentGroup, Configuration, Need
from groundwork.manifest.platform import Platform
from groundwork.manifest.values import Reference
from groundwork.problems import Problem

_NEED_FIELDS = {"keys": "redis", "channels": "redis", "publish": "nats", "subscribe": "nats"}


def check(platform: Platform, folder: Path) -> list[Problem]:
    """Return every mistake between parts of ``platform``; ``folder`` is where relative paths start."""
    names = _Names(platform)
    problems = [
        *names.clashes(),
        *_check_groups(platform, names),
        *_check_exposure(platform, names),
        *_check_operations(platform, names),
    ]
    for key, path in _paths(platform):
        if not (folder / path).exists():
            problems.append(Problem("there is no such file or folder", key=key, given=path))
    if not problems:
        for name, group in platform.groups.items():
            if group.configuration:
                problems += _check_configuration(f"groups.{name}.configuration", group.configuration, folder)
    return problems


class _Names:
    """What can be referred to."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.services = set(platform.services)
        self.groups = set(platform.groups)
        self.agents = set(platform.agents())
        self.categories = {group.category for group in platform.groups.values() if group.category}
        self.secrets = set(platform.secrets)
        self.needable = self.services | self.groups | self.agents

    def clashes(self) -> Iterator[Problem]:
        """Services, groups and agents share one name space, so that a need can name any of them."""
        seen: dict[str, str] = {name: f"services.{name}" for name in self.services}
        normal: dict[str, str] = {}
        places = [(group, f"groups.{group}") for group in self.platform.groups]
        places += [
            (agent, f"groups.{group}.agents.{agent}")
            for group, declared in self.platform.groups.items()
            for agent in declared.agents
        ]
        for name, place in places:
            # A group may share its name with its only agent: units and targets differ in their suffix.
            other = seen.setdefault(name, place)
            if other != place and not (other == f"groups.{name}" and place.startswith(f"{other}.agents.")):
                yield Problem(f"the name is taken by {other}", key=place, given=name, allowed="a name of its own")
            flat = normal.setdefault(name.replace("_", "-"), name)
            if flat != name:
                yield Problem(f"differs from {flat!r} only in - and _", key=place, given=name)


def _unknown(kind: str, key: str, given: str, known: Iterable[str]) -> Problem:
    allowed = sorted(known)
    nearest = difflib.get_close_matches(given, allowed, 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return Problem(f"no such {kind}{hint}", key=key, given=given, allowed=", ".join(allowed[:20]) or "none is declared")


def _check_groups(platform: Platform, names: _Names) -> Iterator[Problem]:
    for name, group in platform.groups.items():
        key = f"groups.{name}"
        yield from _check_needs(f"{key}.needs", group.needs, platform, names)
        yield from _check_values(f"{key}.environment", group.environment, names)
        if group.configuration:
            yield from _check_values(f"{key}.configuration.values", group.configuration.values, names)
        for index, other in enumerate(group.after):
            if other not in names.groups:
                yield _unknown("group", f"{key}.after.{index}", other, names.groups)
        yield from _check_mode(key, group, platform)
        for agent_name, agent in group.agents.items():
            here = f"{key}.agents.{agent_name}"
            yield from _check_needs(f"{here}.needs", agent.needs, platform, names)
            yield from _check_values(f"{here}.environment", agent.environment, names)
            for index, other in enumerate(agent.after):
                if other not in names.agents:
                    yield _unknown("agent", f"{here}.after.{index}", other, names.agents)
            if agent.module is None and group.module is None and group.mode == "process":
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


def _check_needs(key: str, needs: list[Need], platform: Platform, names: _Names) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, need in enumerate(needs):
        here = f"{key}.{index}"
        if need.name not in names.needable:
            yield _unknown("service, group or agent", here, need.name, names.needable)
            continue
        if need.name in seen:
            yield Problem("is needed twice", key=here, given=need.name)
        seen.add(need.name)
        service = platform.services.get(need.name)
        kind = service.kind if service else "agent"
        for field, fits in (
            ("keys", "redis"),
            ("channels", "redis"),
            ("publish", "nats"),
            ("subscribe", "nats"),
        ):
            if getattr(need, field) and kind != fits:
                yield Problem(f"{field} is for {fits} only", key=f"{here}.{field}", given=f"{need.name} ({kind})")
        if need.database is not None:
            databases = getattr(service, "databases", None)
            if kind != "postgresql" or not isinstance(databases, dict):
                yield Problem("database is for postgresql only", key=f"{here}.database", given=f"{need.name} ({kind})")
            elif need.database not in databases:
                yield _unknown("database", f"{here}.database", need.database, databases)


def _check_values(key: str, values: dict[str, Any], names: _Names) -> Iterator[Problem]:
    for name, value in values.items():
        if not isinstance(value, Reference):
            continue
        if value.kind == "secret":
            if value.target not in names.secrets:
                yield _unknown("secret", f"{key}.{name}", value.target, names.secrets)
        elif value.target not in names.services | names.agents:
            yield _unknown("service or agent", f"{key}.{name}", value.target, names.services | names.agents)


def _check_exposure(platform: Platform, names: _Names) -> Iterator[Problem]:
    agents = platform.agents()
    for name, site in platform.exposure.items():
        if site.tls.key_secret and site.tls.key_secret not in names.secrets:
            yield _unknown("secret", f"exposure.{name}.tls.key_secret", site.tls.key_secret, names.secrets)
        for path, route in site.routes.items():
            here = f"exposure.{name}.routes.{path}"
            if route.agent and route.agent not in agents:
                yield _unknown("agent", here, route.agent, agents)
            elif route.agent and agents[route.agent][1].port is None:
                yield Problem("the agent has no port", key=here, given=route.agent)
            if route.group and route.group not in names.groups:
                yield _unknown("group", here, route.group, names.groups)


def _check_operations(platform: Platform, names: _Names) -> Iterator[Problem]:
    for name, objective in platform.objectives.items():
        for field, known in (
            ("groups", names.groups),
            ("agents", names.agents),
            ("categories", names.categories),
            ("services", names.services),
            ("exposure", set(platform.exposure)),
        ):
            for index, target in enumerate(getattr(objective, field)):
                if target not in known:
                    yield _unknown(field, f"objectives.{name}.{field}.{index}", target, known)
    for name, schedule in platform.schedules.items():
        if schedule.window and schedule.window not in platform.maintenance:
            yield _unknown("window", f"schedules.{name}.window", schedule.window, platform.maintenance)
    if platform.backup:
        for name, item in platform.backup.items.items():
            here = f"backup.items.{name}"
            if item.what in ("postgresql", "redis", "nats"):
                fitting = [n for n, service in platform.services.items() if service.kind == item.what]
                if item.service not in fitting:
                    yield _unknown(f"{item.what} service", f"{here}.service", str(item.service), fitting)
    alertmanager = platform.observability.alertmanager
    for name, receiver in (alertmanager.receivers if alertmanager else {}).items():
        if receiver.secret not in names.secrets:
            key = f"observability.alertmanager.receivers.{name}.secret"
            yield _unknown("secret", key, receiver.secret, names.secrets)


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
    for name, group in platform.groups.items():
        if group.configuration and group.configuration.configuration_schema:
            yield f"groups.{name}.configuration.schema", group.configuration.configuration_schema
        if group.container and group.container.build:
            yield f"groups.{name}.container.build", group.container.build
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


def _check_configuration(key: str, configuration: Configuration, folder: Path) -> Iterator[Problem]:
    """Hold configuration values against the runtime's own schema, as far as they are known now."""
    if configuration.format == "env":
        for name in configuration.values:
            if not (name.isascii() and name.replace("_", "a").isalnum() and name == name.upper()):
                yield Problem("is not an environment variable's name", key=f"{key}.values.{name}", given=name)
    if not configuration.configuration_schema:
        return
    path = folder / configuration.configuration_schema
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        validator = jsonschema.Draft202012Validator(schema)
        validator.check_schema(schema)
    except (OSError, ValueError, jsonschema.SchemaError) as error:
        reason = str(error).splitlines()[0]
        yield Problem(f"is not a usable JSON Schema: {reason}", key=f"{key}.schema", given=str(path))
        return
    known = {k: v for k, v in configuration.values.items() if not isinstance(v, Reference)}
    referred = set(configuration.values) - set(known)
    for fault in validator.iter_errors(known):
        name = str(fault.absolute_path[0]) if fault.absolute_path else ""
        if fault.validator == "required":
            missing = [n for n in fault.validator_value if n not in known and n not in referred]
            for item in missing if missing and fault.message.startswith(repr(missing[0])) else []:
                yield Problem("is required and missing", key=f"{key}.values", given="", allowed=item)
            continue
        here = f"{key}.values.{name}" if name else f"{key}.values"
        yield Problem("does not fit the runtime's schema", key=here, given=fault.message)
