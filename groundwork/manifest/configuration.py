"""Holding a group's configuration values against the JSON Schema that its runtime package ships."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema

from groundwork.manifest.agents import Configuration
from groundwork.manifest.platform import Platform
from groundwork.manifest.sensitive import looks_secret, names_secret
from groundwork.manifest.values import Reference
from groundwork.problems import Problem

_STAND_IN_ADDRESS = "192.0.2.1"
"""An address of the documentation range (RFC 5737), where the real one is known only with the inventory."""
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*\Z")


def check_configuration(
    platform: Platform, group: str, configuration: Configuration, folder: Path
) -> Iterator[Problem]:
    """Yield what the runtime would refuse, as far as it is known without an inventory.

    References count as given: a secret as ``<KEY>_FILE``, an address and a port by a stand-in. What a need
    brings by itself (``<SERVICE>_HOST``, ``_PORT``, ``_USERNAME``, ``_PASSWORD_FILE``) counts as given too.
    """
    key = f"groups.{group}.configuration"
    if configuration.format == "env":
        for name in configuration.values:
            if not _VARIABLE.match(name):
                yield Problem(
                    "is not an environment variable's name", "", 0, f"{key}.values.{name}", name, "A-Z, 0-9, _"
                )
    if not configuration.configuration_schema:
        return
    path = folder / configuration.configuration_schema
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
    except (OSError, ValueError, jsonschema.SchemaError) as error:
        reason = str(error).splitlines()[0]
        given = configuration.configuration_schema
        yield Problem(f"is not a usable JSON Schema: {reason}", key=f"{key}.schema", given=given)
        return
    known = set(schema.get("properties", {}))
    values = {name: value for name, value in _provided(platform, group).items() if name in known}
    for name, value in configuration.values.items():
        values.update(_stand_in(platform, name, value) if isinstance(value, Reference) else {name: value})
    seen: set[Problem] = set()
    for fault in jsonschema.Draft202012Validator(schema).iter_errors(values):
        for problem in _translate(fault, f"{key}.values", known):
            # Settings that are only allowed together complain once for each of them.
            if problem not in seen:
                seen.add(problem)
                yield problem


def _provided(platform: Platform, group: str) -> dict[str, Any]:
    declared = platform.groups[group]
    needs = [*declared.needs, *(need for agent in declared.agents.values() for need in agent.needs)]
    provided: dict[str, Any] = {}
    for need in needs:
        name = need.name.upper().replace("-", "_")
        provided |= {
            f"{name}_HOST": _STAND_IN_ADDRESS,
            f"{name}_PORT": _port_of(platform, need.name),
            f"{name}_USERNAME": group,
            f"{name}_PASSWORD_FILE": "%d/password",
        }
    return provided


def _stand_in(platform: Platform, name: str, reference: Reference) -> dict[str, Any]:
    match reference.kind:
        case "secret":
            return {f"{name}_FILE": f"%d/{reference.target}"}
        case "port_of":
            return {name: _port_of(platform, reference.target)}
        case "url_of":
            return {name: f"https://{_STAND_IN_ADDRESS}:{_port_of(platform, reference.target)}"}
        case _:
            return {name: _STAND_IN_ADDRESS}


def _port_of(platform: Platform, name: str) -> int:
    if name in platform.services:
        return platform.services[name].port
    agents = platform.agents()
    return (agents[name][1].port if name in agents else None) or 1


def _translate(fault: jsonschema.ValidationError, key: str, known: Iterable[str]) -> Iterator[Problem]:
    """Turn one fault into Problems; its own message is not used where it would repeat every value."""
    rule, limit, values = str(fault.validator), cast(Any, fault.validator_value), cast(Any, fault.instance)
    if rule == "required":
        missing = [name for name in limit if name not in values]
        for name in missing:
            if fault.message.startswith(repr(name)):
                yield Problem("is required and missing", key=f"{key}.{name}")
    elif rule == "additionalProperties":
        for name in sorted(set(values) - set(known)):
            nearest = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            yield Problem(f"the runtime has no such setting{hint}", key=f"{key}.{name}", given=name)
    elif rule in ("oneOf", "anyOf") and not fault.absolute_path:
        names = sorted({n for choice in limit for n in choice.get("required", ())})
        yield Problem(
            f"needs {'exactly' if rule == 'oneOf' else 'at least'} one of the settings",
            key=key,
            given=", ".join(name for name in names if name in values) or "none of them",
            allowed=", ".join(names),
        )
    else:
        path = [str(part) for part in fault.absolute_path]
        secret = any(names_secret(part) for part in path) or looks_secret(values)
        given = "(not shown)" if secret else _shorten(values)
        allowed = _describe(rule, limit)
        yield Problem("is not valid", key=".".join([key, *path]), given=given, allowed=allowed)


def _describe(rule: str, value: Any) -> str:
    words = {
        "enum": "one of",
        "type": "of type",
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "above",
        "exclusiveMaximum": "below",
        "minLength": "characters at least",
        "maxLength": "characters at most",
        "pattern": "what matches",
    }
    shown = ", ".join(map(str, value)) if isinstance(value, list) else _shorten(value)
    return f"{words.get(rule, rule)} {shown}"


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."
