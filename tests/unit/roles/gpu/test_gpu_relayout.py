"""Changes of layout without faults: what is kept, who is stopped, which card is left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rig import DCGM, PERSISTENCED, Rig, changing

from roles.gpu.onhost.environment import NO_DEVICE
from roles.gpu.onhost.relayout import LayoutError, RefusedError

A100, H200, RTX = "NVIDIA A100-SXM4-40GB", "NVIDIA H200", "NVIDIA GeForce RTX 4090"


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path, A100, H200, RTX)
    settings = rig.settings({"mig": [(9, 0), (14, 4)]}, {"mig": [(19, 6)]}, {"mps": [25, 50]})
    assert rig.relayout(settings).lags()
    rig.apply(settings)
    rig.start_agents(settings)
    rig.forget_commands()
    assert rig.relayout(settings).lags() == []
    rig.apply(settings)
    assert changing(rig.commands()) == []
    assert rig.system.history == []


def test_a_change_of_card_0_sends_no_command_to_card_1(tmp_path: Path) -> None:
    rig = Rig(tmp_path, A100, A100)
    before = rig.settings({"mig": [(9, 0), (9, 4)]}, {"mig": [(0, 0)]})
    rig.apply(before)
    rig.start_agents(before)
    rig.forget_commands()
    rig.apply(rig.settings({"mig": [(9, 0), (14, 4), (19, 6)]}, {"mig": [(0, 0)]}))
    sent = changing(rig.commands())
    assert sent
    assert all(rig.uuids[0] in command for command in sent)
    # Only who was on the instance that went; what stays is not touched.
    assert {line for line in rig.system.history if "agent" in line} == {
        f"{verb} agent-{rig.uuids[0][4:12]}-4@1.service" for verb in ("stop", "start")
    }


def test_units_are_stopped_in_order_and_started_in_reverse(tmp_path: Path) -> None:
    rig = Rig(tmp_path, A100)
    before = rig.settings({"mps": [50, 50]})
    rig.system.start([DCGM, PERSISTENCED])
    rig.apply(before)
    rig.start_agents(before)
    rig.forget_commands()
    rig.apply(rig.settings({"mig": [(0, 0)]}))
    stopped = [line.removeprefix("stop ") for line in rig.system.history if line.startswith("stop")]
    assert [unit.partition("-")[0] for unit in stopped] == ["client", "client", "nvidia", "groundwork", "nvidia"]
    assert stopped[-1] == PERSISTENCED
    started = [line.removeprefix("start ") for line in rig.system.history if line.startswith("start")]
    # The former daemon is declared no more; its former clients are still units, and see no device.
    assert started == [PERSISTENCED, DCGM, *reversed(stopped[:2])]
    assert (rig.system.folder / f"client-{rig.uuids[0][4:12]}@1.env").read_text() == NO_DEVICE


def test_strangers_are_refused_and_drained(tmp_path: Path) -> None:
    rig = Rig(tmp_path, H200)
    rig.apply(rig.settings({"mig": [(9, 0), (9, 4)]}))
    device = rig.smi.card(rig.uuids[0]).instances[1].uuid
    rig.system.strangers = {77: ("other-training.service", device), 78: ("", device)}
    rig.system.running["other-training.service"] = ""
    wanted = rig.settings({"mig": [(9, 0), (14, 4)]})
    rig.forget_commands()
    with pytest.raises(RefusedError, match=r"other-training.service, process 78 \(train\)"):
        rig.apply(wanted)
    assert changing(rig.commands()) == []
    assert rig.system.history == []
    # A change beside them is none of their business.
    rig.apply(rig.settings({"mig": [(9, 4)]}))
    rig.apply(wanted, drain=True)
    assert rig.system.history == ["stop other-training.service", "start other-training.service"]
    assert rig.system.strangers == {}
    assert rig.relayout(wanted).lags() == []


def test_a_stranger_who_does_not_end_leaves_all_as_it_was(tmp_path: Path) -> None:
    rig = Rig(tmp_path, H200)
    before = rig.settings({"mig": [(9, 0)]})
    rig.apply(before)
    rig.start_agents(before)
    layout = rig.layout()
    rig.system.strangers = {78: ("", rig.smi.card(rig.uuids[0]).instances[0].uuid)}
    rig.system.terminate = lambda pids: None  # type: ignore[method-assign]
    with pytest.raises(LayoutError, match="processes 78 do not end"):
        rig.apply(rig.settings({"mig": [(0, 0)]}), drain=True)
    assert rig.layout() == layout
    assert rig.system.active([consumer.unit for consumer in before.consumers])


def test_a_boot_restores_what_was_proven(tmp_path: Path) -> None:
    rig = Rig(tmp_path, A100, H200)
    settings = rig.settings({"mig": [(9, 0), (14, 4)]}, {"mig": [(19, 2)]})
    rig.apply(settings)
    layout = rig.layout()
    files = {path.name: path.read_text() for path in rig.system.folder.glob("*.env")}
    rig.reboot()
    assert rig.layout() != layout
    with pytest.raises(Exception, match="no environment file"):
        # Nobody starts on cards that were not read back.
        rig.start_agents(settings)
    rig.restore(settings)
    assert rig.layout() == layout
    assert {path.name: path.read_text() for path in rig.system.folder.glob("*.env")} == files


def test_an_infrorom_that_forgot_is_put_right_at_boot(tmp_path: Path) -> None:
    rig = Rig(tmp_path, A100)
    settings = rig.settings({"mig": [(9, 0)]})
    rig.apply(settings)
    layout = rig.layout()
    rig.reboot()
    rig.switch({"fault": "lost_on_reboot", "on": "boot"})
    assert rig.layout()[rig.uuids[0]][0] is False
    rig.restore(settings)
    assert rig.layout() == layout


def test_a_uuid_that_means_another_profile_is_noticed(tmp_path: Path) -> None:
    rig = Rig(tmp_path, H200)
    settings = rig.settings({"mig": [(19, 4)]})
    rig.apply(settings)
    uuid = rig.uuids[0]
    (before,) = rig.smi.card(uuid).instances
    for command in ("-dci", "-dgi"):
        rig.smi.run(("mig", "-i", uuid, command))
    rig.smi.run(("mig", "-i", uuid, "-cgi", "20:4", "-C"))
    (after,) = rig.smi.card(uuid).instances
    assert after.uuid == before.uuid
    assert rig.relayout(settings).lags()
    rig.apply(settings)
    assert rig.smi.card(uuid).instances[0].profile == "1g.18gb"


def test_a_changed_share_restarts_the_daemon_between_its_clients(tmp_path: Path) -> None:
    rig = Rig(tmp_path, RTX)
    before = rig.settings({"mps": [25, 25]})
    rig.apply(before)
    rig.start_agents(before)
    rig.forget_commands()
    after = rig.settings({"mps": [50, 25]})
    rig.apply(after)
    names = [line.partition("-")[0] for line in rig.system.history]
    assert names == [
        "stop client",
        "stop client",
        "stop groundwork",
        "start groundwork",
        "start client",
        "start client",
    ]
    assert rig.relayout(after).lags() == []


def test_a_card_that_is_given_up_becomes_whole(tmp_path: Path) -> None:
    rig = Rig(tmp_path, A100, H200)
    both = rig.settings({"mig": [(9, 0)]}, {"mig": [(9, 0)]})
    rig.apply(both)
    document = {"platform": "test", "consumers": [], "daemons": [], "cards": {}}
    for uuid in rig.uuids:
        document["cards"][uuid] = {"mig": False, "instances": [], "compute_mode": "Default"}  # type: ignore[index]
    from roles.gpu.onhost.settings import read_settings

    given_up = read_settings(document, tmp_path)
    rig.apply(given_up)
    assert {state[:3] for state in rig.layout().values()} == {(False, False, ())}
    assert rig.relayout(given_up).lags() == []
    assert list(rig.system.folder.glob("agent*")) != []
