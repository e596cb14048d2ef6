"""What of a host's inventory data the container engine uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from groundwork.manifest.values import Flag, Model
from groundwork.problems import Problem, ProblemError


class EngineSettings(Model):
    """Each name is a host datum."""

    container_engine_managed: Flag = True
    """False leaves an engine alone that somebody else has set up; it must be there."""
    container_engine_userns: Literal["auto", "on", "off"] = "auto"
    """Whether ids of users in containers are mapped to ids that own nothing on the host; ``auto`` where it works."""


def read_settings(data: Mapping[str, Any], host: str) -> EngineSettings:
    """Read a host's settings from its data. Raises ProblemError with every wrong value, named by its key."""
    given = {key: data[key] for key in EngineSettings.model_fields if data.get(key) is not None}
    try:
        return EngineSettings.model_validate(given)
    except ValidationError as error:
        raise ProblemError(_describe(dict(item), host) for item in error.errors(include_url=False)) from None


def _describe(error: dict[str, Any], host: str) -> Problem:
    context = error.get("ctx", {})
    key = ".".join(str(part) for part in error["loc"])
    given = str(context.get("given", error.get("input")))
    allowed = str(context.get("allowed") or context.get("expected") or "")
    return Problem(error["msg"], file=f"host {host}", key=key, given=given, allowed=allowed)
