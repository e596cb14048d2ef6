"""What a kind of backup hands over: paths that are saved, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Collected:
    """What is to be saved for one set."""

    paths: list[str]
    excludes: list[str] = field(default_factory=list)
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    skipped: str = ""
    """Why this host has nothing to save at the moment: a replica leaves it to its master."""
