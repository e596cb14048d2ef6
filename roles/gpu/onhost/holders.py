"""Who is in the way of a change of a card: our own units, NVIDIA's services, the display, and strangers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .listing import CardState
from .settings import Settings
from .smi import Smi
from .system import System
from .transition import Difference

# Exact names: a pattern would match a container's unit that only sounds like one.
MONITORS = ("nvidia-dcgm-exporter.service", "dcgm-exporter.service", "nvidia-dcgm.service", "dcgm.service")
"""Hold instances and cards without being listed, exporter first."""
PERSISTENCE = "nvidia-persistenced.service"
DISPLAY = "display-manager.service"


@dataclass(frozen=True)
class Holders:
    """Who holds what is to change, in the order to stop them."""

    consumers: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    """Services that are not of this platform."""
    processes: tuple[tuple[int, str], ...] = ()
    """Processes of no service: number and name."""
    monitors: tuple[str, ...] = ()
    daemons: tuple[str, ...] = ()
    display: tuple[str, ...] = ()
    persistence: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        """All units, in the order to stop them; the reverse is the order to start them."""
        named = (*self.consumers, *self.strangers, *self.display, *self.monitors, *self.daemons, *self.persistence)
        return tuple(dict.fromkeys(named))

    @property
    def foreign(self) -> tuple[str, ...]:
        """Those that nobody allowed us to stop."""
        return (*self.strangers, *self.display, *(f"process {pid} ({name})" for pid, name in self.processes))


def find_holders(
    smi: Smi,
    system: System,
    changes: Mapping[str, tuple[CardState, Difference]],
    declared: Settings,
    former: Settings | None,
) -> Holders:
    """Look for everybody who is in the way of ``changes``, by card."""
    known = [settings for settings in (former, declared) if settings]
    ours = {consumer.unit for settings in known for consumer in settings.consumers}
    our_daemons = {settings.daemon_unit(daemon.key) for settings in known for daemon in settings.daemons}
    stop: set[str] = set()
    strangers: list[str] = []
    loose: list[tuple[int, str]] = []
    display = False
    for uuid, (state, difference) in changes.items():
        gone = {instance.start for instance in difference.destroy}
        numbers = {instance.number for instance in difference.destroy}
        for settings in known[:1]:
            stop |= {
                c.unit for c in settings.consumers if c.card == uuid and (difference.concerns_all or c.start in gone)
            }
            stop |= {
                settings.daemon_unit(d.key)
                for d in settings.daemons
                if d.card == uuid and (difference.concerns_all or d.start in gone)
            }
        display = display or (difference.mode and state.display)
        pids = {line.pid: line.name for line in smi.users(uuid) if difference.concerns_all or line.instance in numbers}
        if difference.concerns_all:
            pids = dict.fromkeys(system.device_users(state.index), "device file") | pids
        for pid, name in pids.items():
            unit = system.unit_of(pid)
            if unit in ours | our_daemons:
                stop.add(unit)
            elif unit and unit not in (*MONITORS, PERSISTENCE, DISPLAY):
                strangers.append(unit)
            elif not unit:
                loose.append((pid, name))
            display = display or unit == DISPLAY
    destroying = any(difference.destroy or difference.mode for _, difference in changes.values())
    switching = any(difference.mode for _, difference in changes.values())
    return Holders(
        consumers=tuple(system.active(sorted(stop & ours))),
        strangers=tuple(dict.fromkeys(strangers)),
        processes=tuple(loose),
        monitors=tuple(system.active(MONITORS)) if destroying else (),
        daemons=tuple(system.active(sorted(stop & our_daemons))),
        display=(DISPLAY,) if display and system.active([DISPLAY]) else (),
        persistence=tuple(system.active([PERSISTENCE])) if switching else (),
    )
