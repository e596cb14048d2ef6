"""The platform manifest: models, loading with overlays, checks, JSON Schema."""

from groundwork.manifest.load import LoadedPlatform, load
from groundwork.manifest.platform import Platform
from groundwork.manifest.schema import manifest_schema

__all__ = ["LoadedPlatform", "Platform", "load", "manifest_schema"]
