"""What a server may use of its host, as settings of PostgreSQL; figures from its manual where nothing else is said."""

from __future__ import annotations

from dataclasses import dataclass

from groundwork.problems import Problem, ProblemError

KIBIBYTE = 1024
MEBIBYTE = 1024**2
GIBIBYTE = 1024**3
# Steps of the computed memory: a kernel update moves the host's total by a few MiB, and that must not restart it.
MEMORY_STEP = 64 * MEBIBYTE
SMALLEST = 128 * MEBIBYTE
# What a server process takes besides its sorts: catalogue caches and plans, 1.5 to 3 MiB on PostgreSQL 15 and 17
# (private memory of an idle process after queries on 30 tables, /proc/PID/smaps_rollup).
BACKEND = 3 * MEBIBYTE
# An operation may use work_mem times this (hash_mem_multiplier, 2.0 since PostgreSQL 15).
HASH_FACTOR = 2
SMALLEST_WORK = 512 * KIBIBYTE
LARGEST_WORK = 64 * MEBIBYTE
AUTOVACUUM_WORKERS = 3
RESERVED_CONNECTIONS = 8
"""Connections besides the clients': 3 for superusers, the rest for migrations, maintenance and exporters."""
USUAL_CONNECTIONS = 100


@dataclass(frozen=True)
class Resources:
    """What a host has: memory and disk in bytes (0 where unknown), processor cores."""

    memory: int
    cores: int
    disk: int = 0


@dataclass(frozen=True)
class Sizes:
    """Settings in bytes and counts."""

    memory: int
    shared_buffers: int
    effective_cache_size: int
    work_mem: int
    maintenance_work_mem: int
    autovacuum_work_mem: int
    wal_buffers: int
    max_connections: int
    max_worker_processes: int
    max_parallel_workers: int
    max_parallel_workers_per_gather: int
    min_wal_size: int
    max_wal_size: int
    max_slot_wal_keep_size: int

    @property
    def most_used(self) -> int:
        """Memory when every connection and every worker sorts at once, in bytes."""
        processes = self.max_connections + self.max_parallel_workers
        return (
            self.shared_buffers
            + self.wal_buffers
            + self.maintenance_work_mem
            + AUTOVACUUM_WORKERS * self.autovacuum_work_mem
            + processes * (BACKEND + HASH_FACTOR * self.work_mem)
        )


def compute_memory(resources: Resources, agents_beside: bool, services_beside: bool) -> int:
    """Memory the server may plan with, in bytes.

    Three quarters of a host of its own, three eighths beside other services (a Redis takes half), a quarter
    beside agents; in steps of 64 MiB, at least 128 MiB.
    """
    eighths = 2 if agents_beside else 3 if services_beside else 6
    share = resources.memory * eighths // 8
    return max(SMALLEST, share // MEMORY_STEP * MEMORY_STEP)


def compute_sizes(key: str, memory: int, resources: Resources, wanted: int | None, pooled: int | None) -> Sizes:
    """Return the settings for ``memory`` bytes.

    ``wanted`` are the connections that the manifest declares; where it does not, they follow from ``pooled``, the
    connections that PgBouncer's pools can make at most (None without PgBouncer), as far as memory allows. Raises
    ProblemError where the memory cannot hold the declared ones.
    """
    cores = max(1, resources.cores)
    shared = max(16 * MEBIBYTE, memory // 4)
    wal_buffers = min(16 * MEBIBYTE, shared // 32)
    maintenance = min(GIBIBYTE, memory // 16)
    autovacuum = min(256 * MEBIBYTE, memory // 64)
    parallel = min(cores, 16, memory // (64 * MEBIBYTE))
    area = memory - shared - wal_buffers - maintenance - AUTOVACUUM_WORKERS * autovacuum
    most = area // (BACKEND + HASH_FACTOR * SMALLEST_WORK) - parallel
    if wanted is not None and wanted > most:
        message = f"{wanted} connections do not fit into {memory // MEBIBYTE} MiB: declare more memory_max or fewer"
        allowed = f"10 to {most}" if most >= 10 else "more memory_max"
        raise ProblemError([Problem(message, key=f"{key}.maximum_connections", given=str(wanted), allowed=allowed)])
    asked = USUAL_CONNECTIONS if pooled is None else pooled + RESERVED_CONNECTIONS
    connections = wanted or max(10, min(asked, most))
    each = area // (connections + parallel)
    work = max(64 * KIBIBYTE, min(LARGEST_WORK, (each - BACKEND) // HASH_FACTOR) // (64 * KIBIBYTE) * 64 * KIBIBYTE)
    max_wal = _limit_wal(memory, resources.disk)
    return Sizes(
        memory=memory,
        shared_buffers=_floor(shared),
        effective_cache_size=_floor(max(shared, memory * 3 // 4)),
        work_mem=work,
        maintenance_work_mem=_floor(maintenance),
        autovacuum_work_mem=_floor(autovacuum),
        wal_buffers=wal_buffers // (8 * KIBIBYTE) * 8 * KIBIBYTE,
        max_connections=connections,
        max_worker_processes=max(8, parallel + 4),
        max_parallel_workers=parallel,
        max_parallel_workers_per_gather=min(4, parallel // 2),
        min_wal_size=max(80 * MEBIBYTE, max_wal // 4),
        max_wal_size=max_wal,
        max_slot_wal_keep_size=4 * max_wal,
    )


def _limit_wal(memory: int, disk: int) -> int:
    """Log between two checkpoints: as large as the memory, 256 MiB to 8 GiB, a thirty-second of the disk at most."""
    most = disk // 32 // MEMORY_STEP * MEMORY_STEP if disk else 8 * GIBIBYTE
    return max(4 * MEMORY_STEP, min(memory, 8 * GIBIBYTE, most))


def _floor(size: int) -> int:
    return size // MEBIBYTE * MEBIBYTE


def format_bytes(size: int) -> str:
    """A size as PostgreSQL writes it."""
    return f"{size // MEBIBYTE}MB" if size % MEBIBYTE == 0 else f"{size // KIBIBYTE}kB"
