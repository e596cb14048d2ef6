"""The manifest's JSON Schema, for editors and for other tools."""

from __future__ import annotations

import copy
from typing import Any

from groundwork.manifest.platform import Platform
from groundwork.manifest.services import SERVICE_KINDS


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a platform manifest, with the short forms that it allows."""
    schema = Platform.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    for model, key in (("Agent", "needs"), ("AgentGroup", "needs"), ("Need", "streams")):
        members = definitions[model]["properties"][key]
        members["items"] = _or(members["items"], {"type": "string", "description": "The name alone."})
    _shorten_members(definitions["Exposure"]["properties"]["routes"], {"type": "string", "description": "An agent."})
    groups = definitions["LabHost"]["properties"]["groups"]
    _shorten_members(definitions["Lab"]["properties"]["hosts"], copy.deepcopy(groups))
    objective = definitions["Objective"]["properties"]
    objective["latency"] = _or(objective["latency"], {"$ref": "#/$defs/Latency"})
    _name_kinds(schema)
    _close(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Groundwork platform manifest",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _or(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [first, second]}


def _shorten_members(mapping: dict[str, Any], short: dict[str, Any]) -> None:
    """Let each member of a mapping be given in its short form, too."""
    for key in ("additionalProperties", "patternProperties"):
        members = mapping.get(key)
        if key == "patternProperties" and members:
            mapping[key] = {pattern: _or(member, short) for pattern, member in members.items()}
        elif isinstance(members, dict):
            mapping[key] = _or(members, short)


def _name_kinds(schema: dict[str, Any]) -> None:
    """A service that is named like its kind need not repeat it."""
    services = schema["properties"]["services"]
    members = list(services.get("patternProperties", {}).values()) or [services["additionalProperties"]]
    references = {branch["$ref"].split("/")[-1] for branch in members[0]["oneOf"]}
    services["properties"] = {}
    for name in sorted(references):
        model = schema["$defs"][name]
        kind = model["properties"]["kind"]["const"]
        named = copy.deepcopy(model)
        named["required"] = [key for key in model.get("required", []) if key != "kind"]
        schema["$defs"][f"{name}Named"] = named
        services["properties"][kind] = {"$ref": f"#/$defs/{name}Named"}
    # The pattern of names would hold such a service to the general form, where the kind is required.
    if "patternProperties" in services:
        pattern, member = services["patternProperties"].popitem()
        others = "|".join(SERVICE_KINDS)
        services["patternProperties"] = {f"^(?!({others})$){pattern.removeprefix('^')}": member}


def _close(node: Any) -> None:
    """Refuse the keys that match no pattern of a mapping's keys."""
    if isinstance(node, dict):
        if "patternProperties" in node:
            node.setdefault("additionalProperties", False)
        for value in node.values():
            _close(value)
    elif isinstance(node, list):
        for value in node:
            _close(value)
