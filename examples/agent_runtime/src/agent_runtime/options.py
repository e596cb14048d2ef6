"""Options: one definition per setting, from which parsing, checks and the JSON Schema all come."""

from __future__ import annotations

import dataclasses
import math
import re
import types
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from agent_runtime.secret import Secret

TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")
# What people leave in a file that was copied from an example.
PLACEHOLDERS = (
    "changeme",
    "change-me",
    "change_me",
    "replace-me",
    "your-api-key",
    "your_api_key",
    "password",
    "secret",
)


@dataclass(frozen=True)
class Option:
    """What a setting means and what it may be."""

    description: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    # Settings of one feature: give all that lack a default, or none.
    together: str | None = None


@dataclass(frozen=True)
class Definition:
    """A setting as the rest of the package sees it."""

    key: str
    field: str
    kind: str  # string, integer, number, boolean, list or secret
    option: Option
    required: bool
    default: Any


def option(description: str, *, default: Any = dataclasses.MISSING, **rules: Any) -> Any:
    """Declare a dataclass field as a setting; without a default it is required."""
    return dataclasses.field(default=default, metadata={"option": Option(description, **rules)}, kw_only=True)


_KINDS: dict[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Secret: "secret",
    tuple: "list",
}


def list_definitions(settings: type[Any]) -> list[Definition]:
    """Return the settings of a dataclass in the order of their declaration."""
    hints = get_type_hints(settings)
    found = []
    for item in dataclasses.fields(settings):
        hint = hints[item.name]
        if get_origin(hint) in (Union, types.UnionType):
            hint = next(part for part in get_args(hint) if part is not type(None))
        kind = _KINDS[get_origin(hint) or hint]
        required = item.default is dataclasses.MISSING
        default = None if required else item.default
        found.append(Definition(item.name.upper(), item.name, kind, item.metadata["option"], required, default))
    return found


def describe_allowed(definition: Definition) -> str:
    """Say in a few words what a setting may be."""
    rules = definition.option
    if rules.choices:
        return "one of " + ", ".join(rules.choices)
    if definition.kind == "boolean":
        return "true or false"
    low, high = rules.minimum, rules.maximum
    if definition.kind in ("integer", "number"):
        noun = "a whole number" if definition.kind == "integer" else "a number"
        return f"{noun} from {low:g} to {high:g}" if low is not None and high is not None else noun
    noun = "a comma-separated list" if definition.kind == "list" else "text"
    if low is not None:
        noun += f" of at least {low:g} " + ("items" if definition.kind == "list" else "characters")
    if rules.pattern:
        noun += f" that matches {rules.pattern}"
    return noun + (", not a placeholder" if definition.kind == "secret" else "")


def parse_value(definition: Definition, text: str) -> Any:
    """Turn text into a setting's value.

    Raises:
        ValueError: the text is not allowed; the message says what is, and never repeats the text.
    """
    rules, refusal = definition.option, ValueError(describe_allowed(definition))
    match definition.kind:
        case "boolean":
            if text.lower() not in TRUE_WORDS + FALSE_WORDS:
                raise refusal
            return text.lower() in TRUE_WORDS
        case "integer" | "number":
            # Stricter than int() and float(), which take "1_000", " 5 " and "nan".
            if not re.fullmatch(r"[+-]?\d+" if definition.kind == "integer" else r"[+-]?\d+(\.\d+)?", text, re.ASCII):
                raise refusal
            number = int(text) if definition.kind == "integer" else float(text)
            if not math.isfinite(number) or not _within(rules, number):
                raise refusal
            return number
        case "list":
            items = tuple(part.strip() for part in text.split(",") if part.strip())
            if not _within(rules, len(items)) or not all(re.fullmatch(rules.pattern or ".*", item) for item in items):
                raise refusal
            return items
    if rules.choices and text not in rules.choices:
        raise refusal
    if not text or not _within(rules, len(text)) or (rules.pattern and not re.fullmatch(rules.pattern, text)):
        raise refusal
    if definition.kind == "secret":
        if text.strip().lower() in PLACEHOLDERS:
            raise refusal
        return Secret(text)
    return text


def _within(rules: Option, number: float) -> bool:
    return (rules.minimum is None or number >= rules.minimum) and (rules.maximum is None or number <= rules.maximum)


def build_schema(settings: type[Any], title: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a settings class, with values typed as a manifest writes them."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    alternatives: list[dict[str, Any]] = []
    groups: dict[str, list[Definition]] = {}
    for definition in list_definitions(settings):
        properties[definition.key] = _describe_property(definition)
        if definition.kind == "secret":
            file_key = f"{definition.key}_FILE"
            properties[file_key] = {
                "type": "string",
                "description": f"Path of a file that holds {definition.key}.",
                "pattern": "^(/|%d/).+",
            }
            if definition.required:
                alternatives.append({"oneOf": [{"required": [definition.key]}, {"required": [file_key]}]})
        elif definition.required:
            required.append(definition.key)
        if definition.option.together:
            groups.setdefault(definition.option.together, []).append(definition)
    for members in groups.values():
        needed = [_need(member) for member in members if member.default is None]
        for member in members:
            for key in _names(member):
                alternatives.append({"if": {"required": [key]}, "then": {"allOf": needed}})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": properties,
        "required": required,
        "allOf": alternatives,
        "additionalProperties": False,
    }


def _names(definition: Definition) -> list[str]:
    secret = definition.kind == "secret"
    return [definition.key, f"{definition.key}_FILE"] if secret else [definition.key]


def _need(definition: Definition) -> dict[str, Any]:
    names = _names(definition)
    return {"required": names} if len(names) == 1 else {"oneOf": [{"required": [name]} for name in names]}


def _describe_property(definition: Definition) -> dict[str, Any]:
    rules = definition.option
    entry: dict[str, Any] = {"description": rules.description}
    entry["type"] = {"list": "array", "secret": "string"}.get(definition.kind, definition.kind)
    low, high = ("minimum", "maximum")
    if definition.kind in ("string", "secret"):
        low, high = "minLength", "maxLength"
        # Text is never empty: an empty value in an environment file means a forgotten one.
        entry["minLength"] = 1
    elif definition.kind == "list":
        low, high = "minItems", "maxItems"
        entry["items"] = {
            "type": "string",
            **({"pattern": f"^(?:{rules.pattern})$"} if rules.pattern else {}),
        }
    if rules.minimum is not None:
        entry[low] = rules.minimum
    if rules.maximum is not None:
        entry[high] = rules.maximum
    if rules.choices:
        entry["enum"] = list(rules.choices)
    if rules.pattern and definition.kind != "list":
        entry["pattern"] = f"^(?:{rules.pattern})$"
    if definition.default is not None:
        entry["default"] = list(definition.default) if definition.kind == "list" else definition.default
    if definition.kind == "secret":
        entry["writeOnly"] = True
    return entry
