"""What of a controller host's inventory data the scheduler uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import StringConstraints, ValidationError

from groundwork.manifest.values import Model
from groundwork.problems import Problem, ProblemError

AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._@/-]+$", max_length=200)]


class SchedulerSettings(Model):
    """Each name is a host datum."""

    controller_checkout: AbsolutePath = "/srv/groundwork"
    """The checkout that the passes run from; its owner is the account that they run as."""
    controller_key: AbsolutePath | None = None
    """The environment's age key, readable for root only; systemd hands it to the passes. Where left out, the
    account's own key is used, as by hand."""
    metrics_folder: AbsolutePath = "/var/lib/prometheus/node-exporter"
    """Where node_exporter's textfile collector looks; the value is that of Debian's package."""


def read_settings(data: Mapping[str, Any], host: str) -> SchedulerSettings:
    """Read a host's settings from its data. Raises ProblemError with every wrong value, named by its key."""
    given = {key: data[key] for key in SchedulerSettings.model_fields if data.get(key) is not None}
    try:
        return SchedulerSettings.model_validate(given)
    except ValidationError as error:
        raise ProblemError(
            Problem(
                item["msg"],
                file=f"host {host}",
                key=".".join(map(str, item["loc"])),
                given=repr(item.get("input")),
                allowed="an absolute path of letters, digits and ._@-",
            )
            for item in error.errors(include_url=False)
        ) from None
