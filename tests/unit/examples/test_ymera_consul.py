"""ymera with the overlay of docs/roles/consul.md: its agents find Consul, their token, and the address of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from agent_runtime.instance import parse_instance

from groundwork.coverage import check_coverage
from groundwork.inventory import make_inventory
from groundwork.manifest.load import load
from groundwork.topology import derive
from roles.agent_runtime.environment import process_variables, render_configuration, render_instance
from roles.consul.access import list_access

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The platform's folder, with an overlay that declares Consul."""
    for path in (ROOT / "platforms").iterdir():
        (tmp_path / "platforms").mkdir(exist_ok=True)
        (tmp_path / "platforms" / path.name).symlink_to(path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    base = yaml.safe_load((ROOT / "platforms/ymera.yaml").read_text())
    groups: dict[str, Any] = {}
    for name, group in base["groups"].items():
        need = {"name": "consul", "keys": ["ymera/*"]} | ({} if name == "configuration" else {"access": "read"})
        settings = {"values": {"CONSUL_URL": {"url_of": "consul"}}}
        groups[name] = {"needs": [*group["needs"], need], "configuration": settings}
    overlay = {"services": {"consul": {"hosts": "data", "version": "1.20.1"}}, "groups": groups}
    (tmp_path / "platforms/ymera.here.yaml").write_text(yaml.safe_dump(overlay))
    return tmp_path / "platforms"


def test_agents_are_told_where_consul_is_and_how_they_get_in(folder: Path) -> None:
    platform = load(folder, "ymera", "here").platform
    check_coverage(platform)
    hosts: dict[str, tuple[frozenset[str], dict[str, Any]]] = {
        "app": (frozenset({"app"}), {"address": "192.0.2.1"}),
        "data": (frozenset({"data"}), {"address": "192.0.2.2"}),
    }
    topology = derive(platform, make_inventory(hosts, "here"), "here")
    for process in topology.processes:
        instance = parse_instance(json.loads(render_instance(platform, topology, process)))
        service = instance.services["consul"]
        assert (service.kind, service.tls, service.keys) == ("consul", True, ("ymera/*",))
        assert service.credential == f"consul_{process.group}"
        assert [(one.address, one.port) for one in service.endpoints] == [("192.0.2.2", 8501)]
        plain, secrets = process_variables(platform, topology, process)
        assert secrets["CONSUL_TOKEN_FILE"] == f"consul_{process.group}"
        assert (plain["CONSUL_HOST"], plain["CONSUL_PORT"]) == ("192.0.2.2", "8501")
        configuration = platform.groups[process.group].configuration
        assert configuration is not None
        text, _ = render_configuration(platform, topology, "app", configuration)
        assert "CONSUL_URL=https://192.0.2.2:8501" in text.replace('"', "")
    needs = {(need.unit, need.name) for need in topology.secret_needs}
    assert {name for unit, name in needs if unit == "consul-1"} == {
        f"consul_{name}" for name in ("management", "agent", "gossip", *platform.groups)
    }
    rules = {one.group: one.rules for one in list_access(platform, "consul")}
    assert 'key_prefix "ymera/" { policy = "write" }' in rules["configuration"]
    assert 'key_prefix "ymera/" { policy = "read" }' in rules["drafting"]
    assert 'service "drafting" { policy = "write" }' in rules["drafting"]
