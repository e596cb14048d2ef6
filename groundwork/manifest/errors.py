"""pydantic's validation errors as Problems: file, line, key, what was given, what is allowed."""

from __future__ import annotations

import difflib
import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from groundwork.manifest.sensitive import is_sensitive, looks_secret
from groundwork.manifest.source import Source, format_key
from groundwork.problems import Problem


def translate_error(error: dict[str, Any], source: Source, root: type[BaseModel]) -> Problem:
    """Turn one of pydantic's errors into a Problem with its place in ``source``."""
    path, model = _walk(error["loc"], root)
    context = error.get("ctx") or {}
    message = str(error["msg"])
    given, allowed = _quote(error.get("input")), ""
    match error["type"]:
        case "extra_forbidden":
            known = sorted((f.alias or n) for n, f in model.model_fields.items()) if model else []
            nearest = difflib.get_close_matches(str(path[-1]), known, 1)
            message = "unknown key" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
            given, allowed = str(path[-1]), ", ".join(known)
        case "missing":
            message, given = "is required and missing", ""
        case "groundwork":
            given, allowed = _quote(context.get("given")), str(context.get("allowed", ""))
        case "string_pattern_mismatch":
            message, allowed = "has the wrong form", f"what matches {context.get('pattern', '')}"
        case "union_tag_invalid":
            message, given = "unknown kind", _quote(context.get("tag"))
            allowed = str(context.get("expected_tags", "")).replace("'", "")
            path = (*path, "kind")
        case "union_tag_not_found":
            message, given, path = "is required and missing", "", (*path, "kind")
            allowed = "redis, postgresql, nats, consul, external"
        case _:
            allowed = message.removeprefix("Input should be ").removeprefix("a valid ")
            message = "is not valid"
    secret = is_sensitive(path) or looks_secret(error.get("input")) or looks_secret(given)
    if secret and given and error["type"] != "extra_forbidden":
        given = "(not shown)"
    mark = source.mark_of(path)
    return Problem(message, mark.file, mark.line, format_key(path), given, allowed)


def _quote(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping with " + ", ".join(list(map(str, value))[:5]) if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "...") if isinstance(value, str) else text


def _walk(location: tuple[Any, ...], root: type[BaseModel]) -> tuple[tuple[str | int, ...], type[BaseModel] | None]:
    """Turn pydantic's location into a path of the data, and find the model that its last part belongs to.

    Locations hold parts that the data lacks: the tag of a discriminated union, ``[key]`` after a wrong
    mapping key. Those are left out.
    """
    path: list[str | int] = []
    annotation: Any = root
    model: type[BaseModel] | None = root
    for part in location:
        if part == "[key]":
            continue
        members = _members(annotation)
        tagged = [m for m in members if _kind_of(m) == part]
        if len(members) > 1 and tagged:
            annotation = tagged[0]
            continue
        path.append(part)
        current = members[0] if members else None
        if isinstance(current, type) and issubclass(current, BaseModel):
            model = current
            field = current.model_fields.get(str(part)) or next(
                (f for f in current.model_fields.values() if f.alias == part), None
            )
            annotation = field.annotation if field else None
        elif get_origin(current) in (dict, list):
            model = None
            annotation = get_args(current)[-1]
        else:
            model, annotation = None, None
    return tuple(path), model


def _members(annotation: Any) -> list[Any]:
    """Strip Annotated and None from an annotation; several members are those of a union."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for a in get_args(annotation) if a is not type(None) for m in _members(a)]
    return [annotation]


def _kind_of(model: Any) -> str | None:
    if isinstance(model, type) and issubclass(model, BaseModel) and "kind" in model.model_fields:
        values = get_args(model.model_fields["kind"].annotation)
        return str(values[0]) if len(values) == 1 else None
    return None
