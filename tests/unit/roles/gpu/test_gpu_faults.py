"""Every fault at every step of a change of layout: it ends in the declared layout or in the former one."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nvidia_double.changes import PowerCutError

sys.path.insert(0, str(Path(__file__).parent))

from rig import DCGM, PERSISTENCED, Rig

from roles.gpu.onhost.relayout import LayoutError
from roles.gpu.onhost.settings import Settings
from roles.gpu.onhost.transition import ATTEMPTS

A100, H200 = "NVIDIA A100-SXM4-40GB", "NVIDIA H200"
# Models, the layout before, and the declared one.
SCENARIOS: dict[str, tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]] = {
    "a100-cut-anew": ([A100, A100], [{"mig": [(9, 0), (9, 4)]}, {"mig": [(0, 0)]}],
                      [{"mig": [(9, 0), (14, 4), (19, 6)]}, {"mig": [(0, 0)]}]),
    "a100-from-mps": ([A100], [{"mps": [50, 50]}], [{"mig": [(5, 0), (14, 4)]}]),
    "h200-cut-anew": ([H200], [{"mig": [(19, 0), (19, 1), (9, 4)]}], [{"mig": [(14, 0), (14, 2), (9, 4)]}]),
    "h200-to-mps": ([H200], [{"mig": [(9, 0), (9, 4)]}], [{"mps": [25, 25, 25]}]),
}  # fmt: skip
FAULTS = ("insufficient_resources", "in_use", "warning_rc0", "reset_blocked", "killed", "power_cut")
TIMES = {"once": 1, "until given up": ATTEMPTS}


def make_rig(folder: Path, scenario: str) -> tuple[Rig, Settings, Settings]:
    """A host with the former layout in force, its agents running, DCGM and nvidia-persistenced beside them."""
    models, before, after = SCENARIOS[scenario]
    rig = Rig(folder, *models)
    rig.system.start([DCGM, PERSISTENCED])
    former = rig.settings(*before)
    rig.apply(former)
    rig.start_agents(former)
    return rig, former, rig.settings(*after)


def count_steps(folder: Path, scenario: str) -> int:
    """How many changing steps the change takes without a fault."""
    rig, _, declared = make_rig(folder, scenario)
    rig.switch({"fault": "none", "skip": 10_000})
    rig.apply(declared)
    return 10_000 - int(json.loads(rig.machine.switches.read_text())[0]["skip"])


def list_cases() -> list[tuple[str, str, str, int]]:
    """The steps are counted on a dry run of each change, so that a new step is tried without being named here."""
    cases = []
    for scenario in SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            steps = count_steps(Path(folder), scenario)
        for fault in FAULTS:
            # What cuts the run off happens once.
            times = ["once"] if fault in ("killed", "power_cut") else list(TIMES)
            cases += [(scenario, fault, often, step) for often in times for step in range(steps)]
    return cases


CASES = list_cases()


def test_there_are_at_least_a_hundred_combinations() -> None:
    print(f"{len(CASES)} combinations")
    assert len(CASES) >= 100
    assert {fault for _, fault, _, _ in CASES} == set(FAULTS)


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where the machine has such a place: these tests write the double's state ten thousand times."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.mark.parametrize(("scenario", "fault", "often", "step"), CASES)
def test_it_ends_in_one_layout_or_the_other(folder: Path, scenario: str, fault: str, often: str, step: int) -> None:
    rig, former, declared = make_rig(folder, scenario)
    before, were = rig.layout(), dict(rig.system.running)
    shown = "killed" if fault == "power_cut" else fault
    rig.switch({"fault": shown, "skip": step, "times": TIMES[often]})
    failed = False
    try:
        rig.apply(declared)
    except LayoutError as error:
        failed = True
        assert "former layout again" in str(error)
        assert any(line.startswith("failed: ") for line in rig.said)
    except PowerCutError:
        rig.switch()
        if fault == "power_cut":
            rig.reboot()
            rig.restore(declared)
            rig.system.start([DCGM, PERSISTENCED])
            rig.start_agents(former)
            # Not what was under way, but what was proven, comes back.
            failed = True
        else:
            rig.apply(declared)
    rig.switch()
    after = rig.layout()
    if failed:
        assert after == before
        assert rig.system.running == were
    else:
        reached, targets = rig.relayout(declared).changes(), declared.cards
        assert reached == {}
        assert {uuid: {place[:2] for place in after[uuid][2]} for uuid in targets} == {  # type: ignore[attr-defined]
            uuid: set(target.instances) for uuid, target in targets.items()
        }
        # Everybody who ran runs; daemons are the declared ones.
        agents = {unit for unit in were if not unit.startswith("groundwork-mps")}
        assert agents <= set(rig.system.running)
        assert rig.relayout(declared).lags() == []
    assert not declared.stopped_file.exists()
    unconcerned = [uuid for uuid in rig.uuids if former.cards.get(uuid) == declared.cards.get(uuid)]
    for uuid in unconcerned:
        assert after[uuid] == before[uuid]
