"""The environment files by which processes and MPS daemons find their part of a card."""

from __future__ import annotations

from collections.abc import Mapping

from .listing import CardState
from .settings import Consumer, Daemon, Settings, write_file

HEAD = "# Written by Groundwork when the card was read back; edits are replaced."
NO_DEVICE = f"{HEAD}\nCUDA_VISIBLE_DEVICES=\n"


class MissingError(Exception):
    """A declared part of a card is not there."""


def device_of(states: Mapping[str, CardState], card: str, start: int, profile_id: int = -1) -> str:
    """UUID of a card or of its instance at a slot. The profile is compared: a UUID alone says nothing about it."""
    if start < 0:
        return card
    found = next((i for i in states[card].instances if i.start == start and i.uuid), None)
    if found is None or profile_id not in (-1, found.profile_id):
        raise MissingError(f"card {card} has no instance of profile {profile_id} at slot {start}")
    return found.uuid


def consumer_environment(settings: Settings, states: Mapping[str, CardState], consumer: Consumer) -> str:
    """What a process is given."""
    device = device_of(states, consumer.card, consumer.start, consumer.profile_id)
    lines = [HEAD, f"GROUNDWORK_GPU_SHARING={consumer.sharing}", f"CUDA_VISIBLE_DEVICES={device}"]
    if consumer.daemon:
        lines.append(f"CUDA_MPS_PIPE_DIRECTORY={settings.pipe_folder(consumer.daemon)}")
        lines.append(f"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE={consumer.thread_percentage}")
        if consumer.memory_mib:
            # The daemon sees one device, which is its number 0.
            lines.append(f"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0={consumer.memory_mib}M")
    return "\n".join(lines) + "\n"


def daemon_environment(settings: Settings, states: Mapping[str, CardState], daemon: Daemon) -> str:
    """What an MPS daemon is given."""
    lines = [HEAD, f"CUDA_VISIBLE_DEVICES={device_of(states, daemon.card, daemon.start)}"]
    lines.append(f"CUDA_MPS_PIPE_DIRECTORY={settings.pipe_folder(daemon.key)}")
    lines.append(f"CUDA_MPS_LOG_DIRECTORY=/var/log/groundwork-mps-{settings.platform}/{daemon.key}")
    lines.append(f"GROUNDWORK_MPS_THREAD_PERCENTAGE={daemon.thread_percentage}")
    lines.append(f"GROUNDWORK_MPS_MEMORY_MIB={daemon.memory_mib or 0}")
    return "\n".join(lines) + "\n"


def wanted_files(settings: Settings, states: Mapping[str, CardState]) -> dict[str, str]:
    """Every environment file by its name in the run folder. MissingError where a part is not there."""
    files = {
        settings.environment_file(c.unit).name: consumer_environment(settings, states, c) for c in settings.consumers
    }
    return files | {f"mps-{d.key}.env": daemon_environment(settings, states, d) for d in settings.daemons}


def write_environment(settings: Settings, states: Mapping[str, CardState], orphans: list[str]) -> list[str]:
    """Write the files; returns the names of those that changed.

    ``orphans`` are units that had a part and have none any more, but are still there: they see no device.
    """
    files = wanted_files(settings, states) | {settings.environment_file(unit).name: NO_DEVICE for unit in orphans}
    changed = [name for name, text in files.items() if write_file(settings.run_folder / name, text)]
    for path in settings.run_folder.glob("*.env"):
        if path.name not in files:
            path.unlink()
    return changed


def find_stale(settings: Settings, states: Mapping[str, CardState]) -> list[str]:
    """Names of the files that are missing or say something else."""
    stale = []
    for name, text in wanted_files(settings, states).items():
        try:
            same = (settings.run_folder / name).read_text("utf-8") == text
        except OSError:
            same = False
        if not same:
            stale.append(name)
    return stale
