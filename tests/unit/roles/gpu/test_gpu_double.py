"""The doubles against captures of the real programs (driver 580.173.02; see docs/roles/gpu.md)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nvidia_double.machine import Machine, User
from nvidia_double.smi import run

DATA = Path(__file__).parent / "captures"


def smi(machine: Machine, command: str) -> tuple[int, str]:
    return run(machine, command.split())


def without_uuids(text: str) -> str:
    return re.sub(r"(GPU|MIG)-[0-9a-f-]{36}", r"\1-", text)


@pytest.mark.parametrize(
    ("command", "capture"),
    [("-L", "h200-mig.gpus.txt"), ("mig -lgi", "h200-mig.gi.txt"), ("mig -lci", "h200-mig.ci.txt"),
     ("mig -lgip", "h200-mig.profiles.txt")],
)  # fmt: skip
def test_an_h200_with_two_small_instances_prints_as_captured(machine: Any, command: str, capture: str) -> None:
    h200 = machine("NVIDIA H200")
    smi(h200, "-pm 1")
    smi(h200, "-i 0 -mig 1")
    # The driver's own choice of slots, as captured: 4 and 6.
    assert smi(h200, "mig -i 0 -cgi 19,19 -C")[0] == 0
    status, text = smi(h200, command)
    assert status == 0
    expected = without_uuids((DATA / capture).read_text().rstrip("\n")).splitlines()
    # -lgi lists its rows in no documented order.
    assert sorted(without_uuids(text).splitlines()) == sorted(expected)


def test_an_h100_without_mig_prints_its_profiles_as_captured(machine: Any) -> None:
    h100 = machine("NVIDIA H100 80GB HBM3")
    assert smi(h100, "mig -lgip")[1].splitlines() == (DATA / "h100.profiles.txt").read_text().rstrip("\n").splitlines()
    assert smi(h100, "mig -lgi") == (6, "No MIG-enabled devices found.")
    assert smi(h100, "mig -lgipp")[1].splitlines()[4:] == [
        "GPU  0 Profile ID  9 Placements: {0,4}:4",
        "GPU  0 Profile ID  5 Placement : {0}:4",
        "GPU  0 Profile ID  0 Placement : {0}:8",
    ]


def test_mixed_instances_are_listed_with_their_attributes_only_by_lgi(machine: Any) -> None:
    h100 = machine("NVIDIA H100 80GB HBM3")
    smi(h100, "-i 0 -mig 1")
    smi(h100, "mig -i 0 -cgi 9:0,20:4,19:6 -C")
    assert smi(h100, "mig -lgi")[1].splitlines() == (DATA / "h100-mixed.gi.txt").read_text().rstrip("\n").splitlines()
    free = {line.split()[3]: line.split()[5] for line in smi(h100, "mig -lgip")[1].splitlines() if "MIG" in line}
    captured = {
        line.split()[3]: line.split()[5]
        for line in (DATA / "h100-mixed.profiles.txt").read_text().splitlines()
        if "MIG" in line
    }
    assert free == captured
    assert "+me" not in smi(h100, "-L")[1]


def test_a_uuid_can_come_to_mean_another_profile(machine: Any) -> None:
    """As in the two captures of one H100: 1g.10gb and 1g.10gb+me with the same instance id and UUID."""
    h100 = machine("NVIDIA H100 80GB HBM3")
    smi(h100, "-i 0 -mig 1")
    smi(h100, "mig -i 0 -cgi 19:4 -C")
    before = smi(h100, "-L")[1]
    smi(h100, "mig -i 0 -dci")
    smi(h100, "mig -i 0 -dgi")
    smi(h100, "mig -i 0 -cgi 20:4 -C")
    assert smi(h100, "-L")[1] == before


def test_slots_are_chosen_as_drivers_were_seen_to(machine: Any) -> None:
    a100 = machine("NVIDIA A100-SXM4-40GB")
    smi(a100, "-i 0 -mig 1")
    smi(a100, "--gpu-reset -i 0")
    seen = {"9,19,14,19": {2: "4:4", 7: "0:1", 4: "2:2", 8: "1:1"}, "19,14,5": {13: "6:1", 5: "4:2", 1: "0:4"}}
    for command, expected in seen.items():
        smi(a100, f"mig -i 0 -cgi {command} -C")
        rows = [line.split() for line in smi(a100, "mig -lgi")[1].splitlines() if re.match(r"\| +0 +MIG", line)]
        assert {int(row[5]): row[6] for row in rows} == expected
        smi(a100, "mig -i 0 -dci")
        smi(a100, "mig -i 0 -dgi")


def test_creation_fails_half_way_and_leaves_what_it_made(machine: Any) -> None:
    a100 = machine("NVIDIA A100-SXM4-40GB")
    smi(a100, "-i 0 -mig 1")
    smi(a100, "--gpu-reset -i 0")
    status, text = smi(a100, "mig -i 0 -cgi 19,19,14,9")
    assert status != 0
    assert text.endswith("profile 9: Insufficient Resources\nFailed to create GPU instances: Insufficient Resources")
    assert smi(a100, "mig -lgi")[1].count("MIG 1g.5gb") == 2


def test_ampere_keeps_its_mode_over_a_reboot_and_needs_a_reset(machine: Any) -> None:
    card = machine("NVIDIA A100-SXM4-40GB")
    query = "--query-gpu=mig.mode.current,mig.mode.pending --format=csv,noheader"
    status, text = smi(card, "-i 0 -mig 1")
    assert status == 0
    assert "pending enable state" in text
    assert smi(card, query) == (0, "Disabled, Enabled")
    smi(card, "--gpu-reset -i 0")
    smi(card, "mig -i 0 -cgi 19 -C")
    card.reboot()
    assert smi(card, query) == (0, "Enabled, Enabled")
    assert smi(card, "mig -lgi") == (6, "No GPU instances found: Not Found")


def test_hopper_needs_no_reset_and_forgets(machine: Any) -> None:
    card = machine("NVIDIA H200")
    status, text = smi(card, "-i 0 -mig 1")
    assert status == 0
    assert text.startswith("Enabled MIG Mode for GPU 00000000:01:00.0\n\nWarning: persistence mode is disabled")
    card.reboot()
    assert smi(card, "--query-gpu=mig.mode.current --format=csv,noheader") == (0, "Disabled")


def test_what_is_in_use_is_not_destroyed(machine: Any) -> None:
    users: list[User] = []
    card = machine("NVIDIA H200", users=users)
    smi(card, "-i 0 -mig 1")
    smi(card, "mig -i 0 -cgi 19:0 -C")
    uuid = re.findall(r"MIG-[0-9a-f-]{36}", smi(card, "-L")[1])[0]
    card.users = lambda: [User(4711, "/usr/bin/train", uuid)]
    status, text = smi(card, "mig -i 0 -dci -gi 7")
    assert status != 0
    assert text.endswith("Failed to destroy compute instances: In use by another client")
    assert smi(card, "mig -i 0 -dgi -gi 7")[0] != 0
    rows = smi(card, "--query-compute-apps=gpu_uuid,pid,process_name --format=csv,noheader")[1]
    assert rows.endswith(", 4711, /usr/bin/train")
    assert re.search(r"\|    0    7    0 +4711 +C   /usr/bin/train", smi(card, "-i 0")[1])


def test_cards_without_mig_say_so(machine: Any) -> None:
    card = machine("NVIDIA GeForce RTX 4090")
    assert smi(card, "mig -lgip") == (6, "No MIG-supported devices found.")
    assert smi(card, "--query-gpu=mig.mode.current --format=csv,noheader") == (0, "[N/A]")
    assert smi(card, "-i 0 -mig 1")[1].splitlines()[1:] == ["Treating as warning and moving on.", "All done."]


def test_mps_daemon_keeps_defaults_until_it_quits(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(DATA.parents[3] / "doubles"), "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "pipe"),
                   "CUDA_MPS_LOG_DIRECTORY": str(tmp_path / "log")}  # fmt: skip
    command = [sys.executable, "-m", "nvidia_double.mps"]

    def ask(text: str) -> tuple[int, str]:
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout.strip()

    assert ask("get_server_list\n") == (1, "Cannot find MPS control daemon process")
    daemon = subprocess.Popen([*command, "-f"], env=environment)
    while not (tmp_path / "pipe/nvidia-cuda-mps-control.pid").exists():
        assert daemon.poll() is None
    assert ask("set_default_active_thread_percentage 25\n") == (0, "25.0")
    assert ask("get_default_active_thread_percentage\n") == (0, "25.0")
    assert ask("quit\n") == (0, "")
    assert daemon.wait(timeout=30) == 0
    assert ask("get_server_list\n")[0] == 1
