"""``groundwork version``."""

from __future__ import annotations

from groundwork.cli import options
from groundwork.cli.output import print_json


def version(as_json: options.Json = False) -> None:
    """Print the versions of Groundwork and pyinfra."""
    from importlib.metadata import version as find_version

    versions = {name: find_version(name) for name in ("groundwork", "pyinfra")}
    if as_json:
        print_json(versions)
    else:
        print(", ".join(f"{name} {number}" for name, number in versions.items()))
