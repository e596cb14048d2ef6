"""What follows once a lab's hosts are up: the platform is applied to them and verified, like on any server."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from groundwork.lab.phases import Phases
from groundwork.lab.state import LabSpec

ENVIRONMENT = "lab"


@dataclass(frozen=True)
class SiteOutcome:
    """What applying and verifying gave, in the figures the final table shows."""

    changed: dict[str, int] = field(default_factory=dict)
    """Operations that changed something, by host."""
    passed: int = 0
    failed: int = 0
    problems: tuple[str, ...] = ()
    """One line for each thing that went wrong; empty means all is well."""
    urls: tuple[str, ...] = ()
    """Addresses to open in a browser."""


def converge_lab(spec: LabSpec, phases: Phases) -> SiteOutcome:
    """Apply ``deploys/site.py`` to the lab and verify it."""
    os.environ["GROUNDWORK_LAB"] = spec.name
    raise NotImplementedError
