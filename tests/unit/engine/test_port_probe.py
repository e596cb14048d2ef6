"""Ports that answer, refuse, or leave the question open."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import testinfra

from groundwork.engine.port_probe import group_places, probe_from_here, probe_from_host

HOME = "127.0.0.1"


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """One that answers, one that nobody listens at, and one whose queue is full, which looks like a filtered one."""
    with socket.create_server((HOME, 0)) as listening, socket.socket() as full, socket.socket() as bound:
        full.bind((HOME, 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        bound.bind((HOME, 0))
        names = {"open": listening, "filtered": full, "refused": bound}
        yield {name: one.getsockname()[1] for name, one in names.items()}
        for one in waiting:
            one.close()


def test_all_are_tried_at_once_from_here_and_from_a_host(ports: dict[str, int]) -> None:
    wanted = group_places((HOME, port) for port in ports.values())
    expected = {(HOME, port): name for name, port in ports.items()}
    assert probe_from_here(wanted, patience=0.5) == expected
    assert probe_from_host(testinfra.get_host("local://"), wanted, patience=0.5) == expected


def test_places_are_grouped_once_by_address() -> None:
    assert group_places([("b", 2), ("a", 9), ("b", 1), ("b", 2)]) == {"a": [9], "b": [1, 2]}
    assert probe_from_here({}) == {}
