"""Labs come up, are completed after a kill at any moment, stand side by side and go without a trace."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from groundwork.lab.engine import ensure_engine, started_here
from groundwork.lab.lifecycle import engine_kept, remove_lab
from groundwork.lab.state import LabState, list_names

ROOT = Path(__file__).resolve().parents[2]
NAME = "selftest"
OTHER = "selftest-2"


def traces(name: str) -> list[str]:
    """Everything that still tells of a lab."""
    client = docker.from_env()
    filters = {"label": [f"groundwork.lab={name}", f"groundwork.root={ROOT}"]}
    found = [str(container.name) for container in client.containers.list(all=True, filters=filters)]
    found += [str(network.name) for network in client.networks.list(filters=filters)]
    found += [str(volume.name) for volume in client.volumes.list(filters=filters)]
    state = LabState(name, ROOT)
    return found + [str(path) for path in (state.folder, state.secrets_key) if path.exists()]


@pytest.fixture(scope="module", autouse=True)
def engine() -> Iterator[None]:
    """Keep the engine up between the tests, which look at it when their labs are gone; it goes with the last lab."""
    with engine_kept(ROOT):
        client = ensure_engine(ROOT, print)
        yield
    in_use = bool(client.containers.list(all=True) or list_names(ROOT))
    remove_lab(NAME)
    assert in_use or not started_here(ROOT)


@pytest.fixture(autouse=True)
def clean(lab_command) -> Iterator[None]:
    yield
    for name in (NAME, OTHER):
        lab_command("down", "--name", name)


def up(lab_command, name: str = NAME, *more: str) -> dict:
    done = lab_command("up", "--no-apply", "--json", "--name", name, *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def actions(result: dict) -> set[str]:
    return {host["action"] for host in result["hosts"]}


def test_second_up_keeps_the_hosts_and_a_stopped_one_is_started(lab_command):
    first = up(lab_command)
    assert actions(first) == {"created"}
    assert {host["state"] for host in first["hosts"]} == {"running"}
    assert actions(up(lab_command)) == {"kept"}

    marker = lab_command("exec", "--name", NAME, "app", "--", "touch /var/tmp/marker; cat /etc/machine-id")
    container = next(c for c in docker.from_env().containers.list() if c.name.endswith(f"-{NAME}-app"))
    container.stop(timeout=20)
    assert lab_command("status", "--name", NAME).returncode == 1
    third = up(lab_command)
    assert {host["name"]: host["action"] for host in third["hosts"]} == {"app": "started", "data": "kept"}
    again = lab_command("exec", "--name", NAME, "app", "--", "test -e /var/tmp/marker && cat /etc/machine-id")
    assert again.returncode == 0
    assert again.stdout == marker.stdout


@pytest.mark.parametrize("release", ["trixie", "bookworm"])
def test_a_host_behaves_like_a_server(lab_command, release):
    up(lab_command, NAME, "--release", release)

    def on_host(*command: str) -> str:
        done = lab_command("exec", "--name", NAME, "app", "--", *command)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    assert f"VERSION_CODENAME={release}" in on_host("cat /etc/os-release")
    assert on_host("systemctl --failed --no-legend") == ""
    assert "Journal started" in on_host("journalctl -b --no-pager")
    assert on_host("sysctl -n -w net.ipv4.conf.all.rp_filter=1").strip() == "1"
    # Replacing files of /etc atomically, and a service with a credential and a sandbox.
    on_host("cp /etc/hosts /etc/hosts.new && mv /etc/hosts.new /etc/hosts")
    unit = (
        "systemd-run --wait --quiet --pipe -p DynamicUser=yes -p ProtectSystem=strict -p LoadCredential=x:/etc/hostname"
    )
    assert on_host(unit + " sh -c 'cat $CREDENTIALS_DIRECTORY/x'").strip() == "app"
    # What belongs to the machine's kernel is out of reach.
    assert lab_command("exec", "--name", NAME, "app", "--", "sysctl -w kernel.panic=0").returncode != 0


def test_up_is_refused_for_another_release(lab_command):
    up(lab_command)
    done = lab_command("up", "--no-apply", "--name", NAME, "--release", "bookworm")
    assert done.returncode == 1
    assert "lab down --name selftest` first" in done.stderr


def test_two_labs_do_not_reach_each_other(lab_command):
    first, second = up(lab_command), up(lab_command, OTHER)
    assert first["spec"]["subnet"] != second["spec"]["subnet"]
    address = second["hosts"][0]["address"]
    probe = "import socket, sys; socket.create_connection((sys.argv[1], 22), 3)"
    inside = lab_command("exec", "--name", OTHER, "data", "--", "python3", "-c", probe, address)
    across = lab_command("exec", "--name", NAME, "data", "--", "python3", "-c", probe, address)
    assert inside.returncode == 0
    assert across.returncode != 0
    assert lab_command("down", "--name", NAME).returncode == 0
    assert lab_command("status", "--name", OTHER).returncode == 0


def test_labs_that_come_up_at_the_same_moment_get_networks_of_their_own(lab_command):
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda name: up(lab_command, name), (NAME, OTHER))
    assert first["spec"]["subnet"] != second["spec"]["subnet"]


def test_down_leaves_no_trace(lab_command):
    up(lab_command)
    key = LabState(NAME, ROOT).secrets_key
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text("key")
    assert traces(NAME)
    assert lab_command("down", "--name", NAME).returncode == 0
    assert traces(NAME) == []


@pytest.mark.slow
def test_up_killed_at_any_moment_is_completed_by_the_next_and_cleaned_by_down(lab_command):
    start = time.monotonic()
    up(lab_command)
    whole = time.monotonic() - start
    lab_command("down", "--name", NAME)
    chance = random.Random(20260101)
    for attempt in range(10):
        command = [sys.executable, "-m", "groundwork.cli.lab", "up", "--no-apply", "--name", NAME]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * chance.uniform(0.3, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if attempt % 2:
            result = up(lab_command)
            assert {host["state"] for host in result["hosts"]} == {"running"}
        assert lab_command("down", "--name", NAME).returncode == 0
        assert traces(NAME) == []
