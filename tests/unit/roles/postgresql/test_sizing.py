from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundwork.problems import ProblemError
from roles.postgresql.sizing import (
    GIBIBYTE,
    KIBIBYTE,
    MEBIBYTE,
    SMALLEST,
    Resources,
    compute_memory,
    compute_sizes,
    format_bytes,
)

MEMORY = st.integers(SMALLEST, 512 * GIBIBYTE)
CORES = st.integers(1, 256)
DISK = st.one_of(st.just(0), st.integers(GIBIBYTE, 100_000 * GIBIBYTE))


@given(MEMORY, CORES, DISK, st.one_of(st.none(), st.integers(0, 20_000)))
def test_what_is_used_at_most_fits(memory: int, cores: int, disk: int, pooled: int | None) -> None:
    sizes = compute_sizes("services.store", memory, Resources(memory * 2, cores, disk), None, pooled)
    assert sizes.most_used <= memory
    assert sizes.max_connections >= 10
    assert 16 * MEBIBYTE <= sizes.shared_buffers <= memory // 2
    assert sizes.work_mem >= 64 * KIBIBYTE
    assert sizes.min_wal_size < sizes.max_wal_size <= sizes.max_slot_wal_keep_size
    if disk >= 16 * GIBIBYTE:
        assert sizes.max_slot_wal_keep_size <= disk // 4
    assert sizes.max_parallel_workers <= sizes.max_worker_processes


@given(MEMORY, CORES, st.integers(10, 10_000))
def test_declared_connections_are_granted_or_refused(memory: int, cores: int, wanted: int) -> None:
    try:
        sizes = compute_sizes("services.store", memory, Resources(memory, cores), wanted, None)
    except ProblemError as error:
        assert error.problems[0].key == "services.store.maximum_connections"
        return
    assert sizes.max_connections == wanted
    assert sizes.most_used <= memory


def test_connections_that_fit_by_far_are_granted() -> None:
    sizes = compute_sizes("services.store", 6 * GIBIBYTE, Resources(8 * GIBIBYTE, 4), 200, None)
    assert sizes.max_connections == 200
    assert sizes.shared_buffers == 1536 * MEBIBYTE
    assert sizes.work_mem > 4 * MEBIBYTE


@given(st.integers(0, 4096 * GIBIBYTE), st.booleans(), st.booleans())
def test_memory_leaves_room_for_others(total: int, agents: bool, services: bool) -> None:
    memory = compute_memory(Resources(total, 1), agents, services)
    assert memory >= SMALLEST
    assert memory % (64 * MEBIBYTE) == 0
    if memory > SMALLEST:
        assert memory <= total * 3 // 4
        # Beside a Redis that takes half of the host, or a quarter where agents run.
        assert not services or memory <= total // 2
        assert not agents or memory <= total // 4


@pytest.mark.parametrize(("size", "text"), [(MEBIBYTE, "1MB"), (512 * KIBIBYTE, "512kB"), (3 * GIBIBYTE, "3072MB")])
def test_sizes_are_written_as_postgresql_reads_them(size: int, text: str) -> None:
    assert format_bytes(size) == text
