"""Limits of slices and units (systemd.resource-control)."""

from __future__ import annotations

from collections.abc import Sequence

from groundwork.manifest.agents import Resources

Setting = tuple[str, str]


def list_limits(resources: Resources) -> tuple[Setting, ...]:
    """The declared limits as settings; sizes in bytes."""
    declared = {
        "CPUWeight": resources.cpu_weight,
        "CPUQuota": None if resources.cpu_quota is None else f"{resources.cpu_quota}%",
        "MemoryHigh": resources.memory_high,
        "MemoryMax": resources.memory_max,
        "TasksMax": resources.tasks_max,
    }
    return tuple((key, str(value)) for key, value in declared.items() if value is not None)


def add_limits(resources: Sequence[Resources]) -> Resources:
    """Limits of one process that holds several agents: the sum of theirs, where every one of them declares it."""
    if len(resources) == 1:
        return resources[0]

    def total(key: str) -> int | None:
        values = [getattr(each, key) for each in resources]
        return sum(values) if values and all(value is not None for value in values) else None

    memory_high, memory_max, tasks = total("memory_high"), total("memory_max"), total("tasks_max")
    return Resources(memory_high=memory_high, memory_max=memory_max, tasks_max=tasks, cpu_quota=total("cpu_quota"))
