from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from benchmarks import ymera
from groundwork.inventory import make_inventory
from groundwork.manifest.load import load
from groundwork.topology import derive

ROOT = Path(__file__).resolve().parents[3]


def test_the_client_runs_as_a_process_of_the_platform_does() -> None:
    platform = load(ROOT / "platforms", ymera.PLATFORM, "lab", root=ROOT).platform
    hosts = {
        name: (frozenset(host.groups), {"ssh_hostname": f"10.0.0.{number}"})
        for number, (name, host) in enumerate(platform.lab.hosts.items(), 1)
    }
    topology = derive(platform, make_inventory(hosts, "inventory"), "lab")
    units = {one.unit_name.removesuffix(".service") for one in topology.processes if one.host == ymera.HOST}
    assert Path(ymera.INSTANCE).stem in units
    words = shlex.split(ymera.make_command(ymera.Run(5.0, 16, 50.0), 200))
    name, _, path = ymera.CREDENTIAL.partition(":")
    assert name in set(topology.secret_declarations)
    assert path.endswith(f"/{name}")
    assert f"User={ymera.PLATFORM}-{ymera.GROUP}" in words
    assert words[words.index("--rate") + 1] == "50.0"
    uses = [use for need in platform.groups[ymera.GROUP].needs for use in need.streams]
    assert [use.name for use in uses if use.dynamic_consumers] == ["inboxes"]


def test_no_other_environment_lets_agents_make_consumers() -> None:
    platform = load(ROOT / "platforms", ymera.PLATFORM, "production", root=ROOT).platform
    for group in platform.groups.values():
        assert not [use for need in group.needs for use in need.streams if use.dynamic_consumers]


@pytest.mark.parametrize(("figures", "text"), [({"p50": 0.01, "p95": 0.1, "p99": None}, ["10", "100", "-"])])
def test_latencies_are_in_milliseconds(figures: dict[str, float | None], text: list[str]) -> None:
    assert ymera.format_latency(figures) == text
