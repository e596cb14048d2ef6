"""The manifest's JSON Schema, for editors and for other tools."""

from __future__ import annotations

from typing import Any

from groundwork.manifest.platform import Platform


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a platform manifest."""
    schema = Platform.model_json_schema(by_alias=True, mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Groundwork platform manifest",
        **{key: value for key, value in schema.items() if key != "title"},
    }
