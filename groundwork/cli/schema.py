"""``groundwork schema``: the manifest's JSON Schema, for editors."""

from __future__ import annotations

from groundwork.cli import options
from groundwork.cli.output import report_errors


def schema(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Print the JSON Schema of platform manifests (always JSON)."""
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.cli.output import print_json
        from groundwork.manifest.schema import manifest_schema

        print_json(manifest_schema())
