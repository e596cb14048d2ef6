"""Names derived from the platform's: slices, targets."""

from __future__ import annotations


def platform_slice(platform: str) -> str:
    """Slice of all the platform's groups; a ``-`` in a slice's name means nesting, so the name's own becomes ``_``."""
    return f"groundwork-{platform.replace('-', '_')}.slice"


def group_slice(platform: str, group: str) -> str:
    """Slice of one group, within the platform's."""
    return f"{platform_slice(platform).removesuffix('.slice')}-{group.replace('-', '_')}.slice"


def platform_target(platform: str) -> str:
    """Target of all the platform's units on a host."""
    return f"{platform}.target"


def group_target(platform: str, group: str) -> str:
    """Target of one group's units on a host."""
    return f"{platform}-{group}.target"


def package_name(platform: str) -> str:
    """Name of the Python package below /usr/local/lib/groundwork that switches the platform's releases."""
    return f"agent_runtime_{platform.replace('-', '_')}"
