"""A whole host for the on-host program: the double's cards, units that use them, and the program itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvidia_double import smi as double
from nvidia_double.machine import Machine, User

from groundwork.lab.cards import describe_cards
from roles.gpu.onhost.listing import CardState
from roles.gpu.onhost.relayout import Relayout, restore
from roles.gpu.onhost.settings import Settings, read_settings
from roles.gpu.onhost.smi import Smi
from roles.gpu.onhost.system import UnitError

DCGM = "nvidia-dcgm.service"
PERSISTENCED = "nvidia-persistenced.service"


class FakeSystem:
    """Units as systemd would run them: a consumer uses the device that its environment file names."""

    def __init__(self, root: Path, platform: str) -> None:
        self.folder = root / f"run/groundwork/gpu-{platform}"
        self.running: dict[str, str] = {}
        """Unit to the device it uses."""
        self.strangers: dict[int, tuple[str, str]] = {}
        """Process to its unit ("" for none) and device."""
        self.history: list[str] = []
        self.machine: Machine | None = None

    def pid(self, unit: str) -> int:
        return 1000 + sorted(self.running).index(unit)

    def users(self) -> list[User]:
        hidden = (DCGM, PERSISTENCED)
        found = [User(self.pid(u), u, device) for u, device in self.running.items() if u not in hidden and device]
        for unit in hidden:
            if unit in self.running and self.machine:
                # It holds every card and every instance.
                for card in self.machine.cards:
                    if unit == PERSISTENCED:
                        continue
                    found.append(User(1, unit, card["uuid"], visible=False))
                    found += [User(1, unit, instance_uuid, visible=False) for instance_uuid in _instances(card)]
        return found + [User(pid, "train", device) for pid, (_, device) in self.strangers.items()]

    def active(self, units: Sequence[str]) -> list[str]:
        return [unit for unit in units if unit in self.running]

    def loaded(self, units: Sequence[str]) -> list[str]:
        return list(units)

    def stop(self, units: Sequence[str]) -> None:
        for unit in units:
            self.history.append(f"stop {unit}")
            self.running.pop(unit, None)
            self.strangers = {pid: held for pid, held in self.strangers.items() if held[0] != unit}

    def start(self, units: Sequence[str]) -> None:
        for unit in units:
            self.history.append(f"start {unit}")
            if unit in (DCGM, PERSISTENCED) or unit.startswith("other"):
                self.running[unit] = ""
                continue
            name = unit.removesuffix(".service")
            name = f"mps-{name.partition('@')[2]}" if name.startswith("groundwork-mps-") else name
            try:
                text = (self.folder / f"{name}.env").read_text()
            except OSError:
                raise UnitError(f"{unit}: does not start: no environment file") from None
            values = dict(line.partition("=")[::2] for line in text.splitlines())
            self.running[unit] = values["CUDA_VISIBLE_DEVICES"]

    def restart(self, unit: str) -> None:
        self.stop([unit])
        self.start([unit])

    def unit_of(self, pid: int) -> str:
        if pid in self.strangers:
            return self.strangers[pid][0]
        return next((unit for unit in self.running if self.pid(unit) == pid), "")

    def device_users(self, index: int) -> list[int]:
        return []

    def terminate(self, pids: Sequence[int]) -> None:
        for pid in pids:
            self.strangers.pop(pid, None)

    def sleep(self, seconds: float) -> None:
        return


def _instances(card: dict[str, Any]) -> list[str]:
    from nvidia_double.machine import instance_uuid

    return [instance_uuid(card, instance) for instance in card["instances"]]


class Rig:
    """One host."""

    def __init__(self, root: Path, *models: str, platform: str = "test") -> None:
        self.root = root
        self.platform = platform
        self.system = FakeSystem(root, platform)
        (root / "etc/nvidia-double").mkdir(parents=True, exist_ok=True)
        (root / "etc/nvidia-double/cards.json").write_text(json.dumps(describe_cards(models, "test")))
        self.machine = Machine(root, self.system.users)
        self.system.machine = self.machine
        self.smi = Smi(lambda arguments: double.run(self.machine, arguments))
        self.uuids = [card["uuid"] for card in self.machine.description["cards"]]
        self.said: list[str] = []

    def settings(self, *cards: dict[str, Any]) -> Settings:
        """Settings of cards by position: ``{"mig": [(profile, start), ...]}`` or ``{"mps": [percent, ...]}``."""
        document: dict[str, Any] = {"platform": self.platform, "cards": {}, "consumers": [], "daemons": []}
        for uuid, declared in zip(self.uuids, cards, strict=False):
            if not declared:
                continue
            mig = declared.get("mig")
            mode = "Exclusive_Process" if "mps" in declared else "Default"
            capable = self.smi.card(uuid).mig is not None
            document["cards"][uuid] = {
                "mig": (mig is not None) if capable else None,
                "instances": [list(place) for place in mig or []],
                "compute_mode": mode,
            }
            short = uuid.removeprefix("GPU-").partition("-")[0]
            for profile, start in mig or []:
                unit = f"agent-{short}-{start}@1.service"
                document["consumers"].append(
                    {"unit": unit, "card": uuid, "sharing": "mig", "profile_id": profile, "start": start}
                )
            for number, percent in enumerate(declared.get("mps", []), 1):
                document["consumers"].append(
                    {"unit": f"client-{short}@{number}.service", "card": uuid, "sharing": "mps", "daemon": short,
                     "thread_percentage": percent, "memory_mib": 1024}
                )  # fmt: skip
            if "mps" in declared:
                most = max(declared["mps"])
                document["daemons"].append(
                    {"key": short, "card": uuid, "start": -1, "thread_percentage": most, "memory_mib": 1024}
                )
        return read_settings(document, self.root)

    def relayout(self, settings: Settings) -> Relayout:
        return Relayout(settings, self.smi, self.system, self.said.append)  # type: ignore[arg-type]

    def apply(self, settings: Settings, drain: bool = False) -> None:
        self.relayout(settings).apply(drain)

    def start_agents(self, settings: Settings) -> None:
        """What the role agent_runtime does after the cards are laid out, and systemd at boot."""
        self.system.start([consumer.unit for consumer in settings.consumers])

    def reboot(self) -> None:
        """Lose what a reboot loses: the cards' volatile state, processes, /run."""
        self.machine.reboot()
        self.system.running.clear()
        self.system.strangers.clear()
        for path in self.system.folder.glob("*"):
            path.unlink()

    def restore(self, settings: Settings) -> None:
        restore(settings, self.smi, self.system, self.said.append)  # type: ignore[arg-type]

    def layout(self) -> dict[str, tuple[object, ...]]:
        """Mode, instances and compute mode of every card, as the double has them."""
        found: dict[str, tuple[object, ...]] = {}
        for uuid in self.uuids:
            state: CardState = self.smi.card(uuid)
            places = tuple(sorted((*i.place, bool(i.uuid)) for i in state.instances))
            found[uuid] = (state.mig, state.pending, places, state.compute_mode)
        return found

    def switch(self, *faults: dict[str, Any]) -> None:
        self.machine.switches.parent.mkdir(parents=True, exist_ok=True)
        self.machine.switches.write_text(json.dumps(faults))

    def commands(self) -> list[list[str]]:
        """Every command so far."""
        return [json.loads(line) for line in self.machine.log.read_text().splitlines()]

    def forget_commands(self) -> None:
        self.machine.log.unlink(missing_ok=True)
        self.system.history.clear()


CHANGING = {"-mig", "--gpu-reset", "-cgi", "-cci", "-dci", "-dgi", "-c", "-pm"}


def changing(commands: list[list[str]]) -> list[list[str]]:
    """Those commands that change something."""
    return [command for command in commands if CHANGING & set(command)]
