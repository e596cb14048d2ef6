"""All controls by group, and which of them are for a level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

from groundwork.report.hardening import Level
from roles.hardening.control import LEVELS, Control
from roles.hardening.controls import (
    accounts,
    apparmor,
    audit,
    authentication,
    banners,
    core_dumps,
    cron,
    fail2ban,
    file_permissions,
    filesystem,
    integrity,
    kernel_modules,
    logging,
    services,
    ssh,
    sysctl,
    time,
    updates,
)

# In the order in which they are enforced: whoever may log in comes last, on trial.
GROUPS: Mapping[str, ModuleType] = {
    "filesystem": filesystem,
    "kernel-modules": kernel_modules,
    "sysctl": sysctl,
    "core-dumps": core_dumps,
    "updates": updates,
    "services": services,
    "time": time,
    "apparmor": apparmor,
    "logging": logging,
    "cron": cron,
    "banners": banners,
    "fail2ban": fail2ban,
    "accounts": accounts,
    "authentication": authentication,
    "ssh": ssh,
    "audit": audit,
    "file-permissions": file_permissions,
    "integrity": integrity,
}
ACCESS = ("accounts", "authentication", "ssh")
"""Groups that decide who may log in: enforced together, on trial, confirmed over a new connection."""

CONTROLS: tuple[Control, ...] = tuple(
    replace(control, group=name) for name, module in GROUPS.items() for control in module.CONTROLS
)


def select(level: Level) -> tuple[Control, ...]:
    """The controls of a level and of those before it."""
    return tuple(control for control in CONTROLS if LEVELS.index(control.level) <= LEVELS.index(level))


def find(identity: str) -> Control | None:
    """The control of a name, or None."""
    return next((control for control in CONTROLS if control.id == identity), None)
