"""What of a host's inventory data hardening uses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from groundwork.manifest.values import Flag, Model
from groundwork.problems import Problem, ProblemError
from groundwork.report.hardening import Level, Waiver
from roles.hardening.catalogue import CONTROLS

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10, max_length=500)]


class WaiverSettings(Model):
    """Why a control is left out on a host."""

    reason: Reason
    """For whoever reads the report: at least ten characters."""
    until: date
    """The last day on which it is in force; afterwards the check fails."""

    @field_validator("until", mode="before")
    @classmethod
    def _iso_date(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                return date.fromisoformat(value)
            except ValueError:
                details = {"allowed": "a date such as 2027-03-31", "given": value}
                raise PydanticCustomError("groundwork", "is not a date", details) from None
        return value


class HardeningSettings(Model):
    """Each name is a host datum."""

    hardening_level: Level | None = Field(default=None, strict=False)
    """``baseline``, ``strict`` or ``paranoid``: then ``deploys/site.py`` hardens the host, too. Left out, only
    ``groundwork harden`` does, and by ``baseline`` where no level is given there."""
    hardening_waivers: dict[str, WaiverSettings] = {}
    """By the control's name."""
    hardening_revert: Flag = False
    """Put back what was there before the first run, instead of hardening."""
    controllers: list[str] = []
    """Networks that runs come from."""

    @field_validator("hardening_waivers")
    @classmethod
    def _known_controls(cls, waivers: dict[str, WaiverSettings]) -> dict[str, WaiverSettings]:
        known = {control.id for control in CONTROLS}
        for name in waivers:
            if name not in known:
                import difflib

                near = difflib.get_close_matches(name, known, 3) or sorted(known)[:3]
                details = {"given": name, "allowed": f"a control's name, such as {', '.join(near)}"}
                raise PydanticCustomError("groundwork", "there is no such control", details)
        return waivers

    def waivers(self) -> dict[str, Waiver]:
        """The waivers as the report shows them."""
        return {name: Waiver(reason=w.reason, until=w.until) for name, w in self.hardening_waivers.items()}


def read_settings(data: Mapping[str, Any], host: str) -> HardeningSettings:
    """Read a host's settings from its data. Raises ProblemError with every wrong value, named by its key."""
    given = {key: data[key] for key in HardeningSettings.model_fields if data.get(key) is not None}
    if isinstance(given.get("controllers"), (tuple, set)):
        given["controllers"] = list(given["controllers"])
    try:
        return HardeningSettings.model_validate(given)
    except ValidationError as error:
        raise ProblemError(_describe(dict(item), host) for item in error.errors(include_url=False)) from None


def _describe(error: dict[str, Any], host: str) -> Problem:
    context = error.get("ctx", {})
    key = ".".join(str(part) for part in error["loc"])
    given = context.get("given", error.get("input"))
    shown = str(given) if isinstance(given, (str, int, float, bool)) else ""
    allowed = context.get("allowed") or context.get("expected") or ""
    return Problem(error["msg"], file=f"host {host}", key=key, given=shown, allowed=str(allowed))
