from __future__ import annotations

import json
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from benchmarks import accounting, failover, rotation
from groundwork.inventory import make_inventory
from groundwork.manifest.load import load
from groundwork.topology import derive
from roles.nats.plan import plan_servers as plan_nats
from roles.postgresql.server import POOL_UNIT
from roles.redis.plan import plan_servers as plan_redis

ROOT = Path(__file__).resolve().parents[3]


def test_the_faults_hit_units_of_the_platform() -> None:
    platform = load(ROOT / "platforms", "ymera", "lab", root=ROOT).platform
    hosts = {
        name: (frozenset(host.groups), {"ssh_hostname": f"10.0.0.{number}"})
        for number, (name, host) in enumerate(platform.lab.hosts.items(), 1)
    }
    topology = derive(platform, make_inventory(hosts, "inventory"), "lab")
    units = {(process.host, process.unit_name) for process in topology.processes}
    units |= {("data", server.unit) for server in plan_nats(platform, topology, "data")}
    units |= {("data", server.unit) for server in plan_redis(platform, topology, "data", 0)}
    units |= {("data", POOL_UNIT), ("data", "postgresql@17-main.service")}
    for fault in failover.FAULTS:
        assert [unit for host, unit in units if host == fault.host and fnmatchcase(unit, fault.unit)], fault


@pytest.mark.parametrize(
    ("changed", "clean"),
    [
        ({}, True),
        *(({key: 1}, False) for key in ("errors", "refused", "failed", "lost")),
        ({"calls_failed": ["redis-1: refused"]}, False),
        ({"findings": ["nats-1: serves 12"]}, False),
    ],
)
def test_anything_noticed_is_a_finding(changed: dict[str, Any], clean: bool) -> None:
    found = {"errors": 0, "refused": 0, "failed": 0, "lost": 0, "calls_failed": [], "findings": []}
    assert rotation.is_clean({**found, **changed}) is clean


def test_the_caller_is_a_program() -> None:
    compile(rotation.CALLER, "caller", "exec")


def test_processor_time_is_shared_out_among_the_messages() -> None:
    before, after = {"a": 1.0, "b": 2.0, "gone": 5.0}, {"a": 1.5, "b": 4.0, "new": 0.5, "idle": 0.001}
    assert accounting.share_out(before, after, 1000) == [("b", 2000.0), ("a", 500.0), ("new", 500.0)]


def test_the_accounting_is_a_program() -> None:
    done = subprocess.run([sys.executable, "-c", accounting.PROGRAM], capture_output=True, text=True, check=True)
    assert sum(json.loads(done.stdout).values()) > 0
