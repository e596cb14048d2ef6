from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from groundwork.engine.inspection import UnreachableError, inspect_host
from groundwork.inventory import InventoryHost

if TYPE_CHECKING:
    from conftest import Bench


def model(data: dict[str, Any]) -> InventoryHost:
    return InventoryHost("one", "127.0.0.1", frozenset(), data)


def test_connects_with_the_inventorys_data(bench: Bench, add_server: Callable[[str], Any]) -> None:
    add_server("one")
    assert inspect_host(model(bench.hosts["one"])).run("echo %s", "a b").stdout == "a b\n"


def test_refuses_a_host_key_that_is_not_known(bench: Bench, add_server: Callable[[str], Any]) -> None:
    add_server("one")
    data = bench.hosts["one"] | {"ssh_known_hosts_file": "/dev/null"}
    with pytest.raises(UnreachableError, match="No host key"):
        inspect_host(model(data))
    del data["ssh_strict_host_key_checking"]
    with pytest.raises(UnreachableError, match="No host key"):
        inspect_host(model(data))


def test_refuses_a_host_key_that_changed(bench: Bench, add_server: Callable[[str], Any]) -> None:
    add_server("one")
    add_server("two")
    known = (bench.root / "known_two").read_text().split(" ", 1)[1]
    forged = bench.root / "forged"
    forged.write_text(f"[127.0.0.1]:{bench.hosts['one']['ssh_port']} {known}")
    with pytest.raises(UnreachableError, match="does not match"):
        inspect_host(model(bench.hosts["one"] | {"ssh_known_hosts_file": str(forged)}))


def test_hanging_host_costs_seconds_not_minutes(
    bench: Bench, add_server: Callable[[str], Any], silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundwork.engine.inspection.CONNECT_TIMEOUT", 1)
    add_server("one")
    started = time.monotonic()
    with pytest.raises(UnreachableError):
        inspect_host(model(bench.hosts["one"] | {"ssh_port": silent_port}))
    assert time.monotonic() - started < 10
