"""What of a host's inventory data the firewall uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError

from groundwork.manifest.firewall import check_network
from groundwork.manifest.values import Flag, Model, Port
from groundwork.problems import Problem, ProblemError


class FirewallSettings(Model):
    """Each name is a host datum."""

    firewall_managed: Flag = True
    """False leaves the host's firewall alone, and removes ours where it was."""
    controllers: list[Annotated[str, AfterValidator(check_network)]] = []
    """Networks from which SSH is allowed; where none is declared, the address that the run comes from."""
    ssh_port: Port = 22
    """Port of the SSH server, where the run does not come over SSH."""


def read_settings(data: Mapping[str, Any], host: str) -> FirewallSettings:
    """Read a host's settings from its data. Raises ProblemError with every wrong value, named by its key."""
    given = {key: data[key] for key in FirewallSettings.model_fields if data.get(key) is not None}
    if isinstance(given.get("controllers"), (tuple, set)):
        given["controllers"] = list(given["controllers"])
    try:
        return FirewallSettings.model_validate(given)
    except ValidationError as error:
        raise ProblemError(_describe(dict(item), host) for item in error.errors(include_url=False)) from None


def _describe(error: dict[str, Any], host: str) -> Problem:
    context = error.get("ctx", {})
    key = ".".join(str(part) for part in error["loc"])
    given = str(context.get("given", error.get("input")))
    return Problem(error["msg"], file=f"host {host}", key=key, given=given, allowed=str(context.get("allowed") or ""))
