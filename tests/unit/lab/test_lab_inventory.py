from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from pyinfra.api import State
from pyinfra.context import ctx_state
from pyinfra_cli.inventory import make_inventory

from groundwork.lab.inventory import NoLabError, build_inventory, load_groups
from groundwork.lab.keys import ensure_host_keys, ensure_key
from groundwork.lab.state import LabHost, LabSpec, LabState, checkout_root

SPEC = LabSpec(
    "one",
    "chorus",
    "trixie",
    "base:tag",
    "10.213.0.0/24",
    (LabHost("app", "10.213.0.11", ("app", "web")), LabHost("data", "10.213.0.12", ("data",))),
)


@pytest.fixture
def state(tmp_path) -> LabState:
    state = LabState("one", tmp_path)
    state.create()
    return state


def test_groups_carry_what_pyinfra_needs_with_strict_host_keys(state, tmp_path):
    state.write_inventory(build_inventory(state, SPEC))
    groups = load_groups("one", tmp_path)
    assert {group: [name for name, _ in hosts] for group, hosts in groups.items()} == {
        "app": ["app"],
        "web": ["app"],
        "data": ["data"],
    }
    data = groups["data"][0][1]
    assert data["ssh_hostname"] == data["address"] == "10.213.0.12"
    assert data["ssh_strict_host_key_checking"] == "yes"
    assert data["ssh_known_hosts_file"] == str(state.known_hosts_file)
    assert (data["environment"], data["platform"], data["release"]) == ("lab", "chorus", "trixie")
    assert data["controllers"] == ["10.213.0.1"]
    assert data["_sudo"] is True


def test_a_missing_lab_says_how_to_get_it(tmp_path):
    with pytest.raises(NoLabError, match=r"no lab named two: \./gw lab up --name two"):
        load_groups("two", tmp_path)
    with pytest.raises(NoLabError, match=r"no lab named default: \./gw lab up$"):
        load_groups("default", tmp_path)


def test_pyinfra_reads_the_committed_inventory_file(state, monkeypatch):
    monkeypatch.setattr("groundwork.lab.state.checkout_root", lambda: state.root)
    monkeypatch.setenv("GROUNDWORK_LAB", "one")
    state.write_inventory(build_inventory(state, SPEC))
    root = checkout_root()
    with ctx_state.use(State()):
        inventory = make_inventory(str(root / "inventories" / "lab.py"), cwd=str(root))
    assert {host.name for host in inventory.get_group("lab")} == {"app", "data"}
    assert inventory.get_host("app").data.address == "10.213.0.11"
    assert inventory.get_host("app").data.environment == "lab"


def test_keys_are_made_once_and_known_hosts_follows_them(state):
    login = ensure_key(state.key_file, "lab")
    assert ensure_key(state.key_file, "lab") == login
    assert state.key_file.stat().st_mode & 0o777 == 0o600
    assert load_ssh_private_key(login.private.encode(), password=None)

    first = ensure_host_keys(state, SPEC)
    assert ensure_host_keys(state, SPEC) == first
    assert first["app"].public != first["data"].public
    lines = state.known_hosts_file.read_text().splitlines()
    assert lines == [
        f"10.213.0.11 {' '.join(first['app'].public.split()[:2])}",
        f"10.213.0.12 {' '.join(first['data'].public.split()[:2])}",
    ]
