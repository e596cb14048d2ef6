"""The cards' state: what survives a reboot, what does not, and who uses which card.

A description (``etc/nvidia-double/cards.json`` below the root) gives the cards; the volatile state lies below
``run``, which a reboot empties, the InfoROM below ``var``. A process uses the card or instance whose UUID its
environment names in CUDA_VISIBLE_DEVICES.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


@dataclass(frozen=True)
class User:
    """A process that uses a device."""

    pid: int
    name: str
    device: str
    """UUID of a card or of a MIG instance."""
    visible: bool = True
    """Whether nvidia-smi lists it; DCGM and nvidia-persistenced hold cards without being listed."""


def scan_processes() -> list[User]:
    """Processes of this machine that use a device."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"nvidia_double.smi" in word or b"gpu_cards" in word for word in words):
            continue
        named = [e.partition(b"=")[2].decode() for e in environment if e.startswith(b"CUDA_VISIBLE_DEVICES=")]
        for device in named[:1]:
            if device.startswith(("GPU-", "MIG-")):
                name = "nvidia-cuda-mps-control" if any(b"nvidia_double.mps" in w for w in words) else words[0].decode()
                found.append(User(int(folder.name), name, device))
    return found


class Machine:
    """The double's machine. ``users`` tells who uses devices; by default it is asked of /proc."""

    def __init__(self, root: Path = Path("/"), users: Callable[[], list[User]] = scan_processes) -> None:
        self.root = root
        self.users = users
        self.description: dict[str, Any] = json.loads((root / "etc/nvidia-double/cards.json").read_text())
        self.volatile = root / "run/nvidia-double/state.json"
        self.permanent = root / "var/lib/nvidia-double/inforom.json"
        self.switches = root / "run/nvidia-double/faults.json"
        self.log = root / "run/nvidia-double/commands.jsonl"
        self.cards: list[dict[str, Any]] = []

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Load the state, and save it afterwards; one process at a time."""
        self.volatile.parent.mkdir(parents=True, exist_ok=True)
        with (self.volatile.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.cards = self._read()
            try:
                yield
            finally:
                self._save()

    def _read(self) -> list[dict[str, Any]]:
        if self.volatile.exists():
            cards: list[dict[str, Any]] = json.loads(self.volatile.read_text())
            return cards
        stored = json.loads(self.permanent.read_text()) if self.permanent.exists() else {}
        lost = self.next_fault("boot") == "lost_on_reboot"
        return [self._boot(card, {} if lost else stored) for card in self.description["cards"]]

    @staticmethod
    def _boot(card: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
        mode = None if not card["profiles"] else bool(card["reset_for_mode"] and stored.get(card["uuid"], False))
        return {
            **card,
            "mode": mode,
            "pending": mode,
            "instances": [],
            "compute_mode": "Default",
            "persistence": bool(card.get("persistence", False)),
            "timeslice": 0,
        }

    def _save(self) -> None:
        text = json.dumps(self.cards)
        if self.volatile.exists() and self.volatile.read_text() == text:
            return
        self.permanent.parent.mkdir(parents=True, exist_ok=True)
        self.permanent.write_text(json.dumps({c["uuid"]: c["pending"] for c in self.cards if c["reset_for_mode"]}))
        new = self.volatile.with_suffix(".new")
        new.write_text(text)
        new.replace(self.volatile)

    def reboot(self) -> None:
        """Lose what a reboot loses."""
        self.volatile.unlink(missing_ok=True)

    def note(self, arguments: list[str]) -> None:
        """Write a command down."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as stream:
            stream.write(json.dumps(arguments) + "\n")

    def next_fault(self, command: str) -> str:
        """The fault that this changing command meets, or an empty string.

        A switch is ``{"fault": kind, "on": word of a command or "", "skip": commands to spare, "times": failures}``;
        ``times`` null means for ever.
        """
        if not self.switches.exists():
            return ""
        switches = json.loads(self.switches.read_text())
        met = ""
        for switch in switches:
            named = switch.get("on", "")
            meant = named == command or (not named and command not in ("driver", "boot"))
            if met or not meant or switch.get("times", 1) == 0:
                continue
            if switch.get("skip", 0) > 0:
                switch["skip"] -= 1
                continue
            if switch.get("times", 1) is not None:
                switch["times"] = switch.get("times", 1) - 1
            met = str(switch["fault"])
        self.switches.write_text(json.dumps(switches))
        return met

    def find(self, given: str) -> list[dict[str, Any]]:
        """The cards that ``-i`` names by index, UUID or PCI address; all without it."""
        if not given:
            return self.cards
        names = given.split(",")
        return [c for c in self.cards if {str(c["index"]), c["uuid"], c["address"]} & set(names)]

    def holders(self, card: dict[str, Any], instance: dict[str, Any] | None = None) -> list[User]:
        """Processes on a card, or on one of its instances."""
        devices = {instance_uuid(card, i) for i in ([instance] if instance else card["instances"])}
        if instance is None:
            devices.add(card["uuid"])
        return [user for user in self.users() if user.device in devices]


def instance_uuid(card: dict[str, Any], instance: dict[str, Any]) -> str:
    """UUID of an instance's compute instance: the same for the same ids, whatever the profile."""
    return "MIG-" + str(uuid.uuid5(NAMESPACE, f"{card['uuid']}/{instance['id']}/0"))


def instance_number(card: dict[str, Any], size: int, start: int) -> int:
    """Id of a GPU instance: 0 for the whole card, 1 and 2 for halves, 3 to 6 for quarters, from 7 on for eighths."""
    whole = max(int(profile["size"]) for profile in card["profiles"])
    return whole // size - 1 + start // size


def is_free(card: dict[str, Any], profile: dict[str, Any], start: int, besides: list[tuple[int, int]] = []) -> bool:  # noqa: B006
    """Whether an instance of a profile can be made at a slot."""
    taken = [(i["start"], i["size"]) for i in card["instances"]] + besides
    return all(start >= s + n or s >= start + profile["size"] for s, n in taken)


def has_resources(card: dict[str, Any], profile: dict[str, Any], more: int = 1) -> bool:
    """Whether compute slices, engines and the number of instances allow ``more`` of a profile."""
    by_id = {p["id"]: p for p in card["profiles"]}
    whole = max(card["profiles"], key=lambda p: int(p["compute"]))
    used = [by_id[i["profile"]] for i in card["instances"]]
    if sum(p["id"] == profile["id"] for p in used) + more > profile["max"]:
        return False
    if sum(p["compute"] for p in used) + more * profile["compute"] > card["compute_slices"]:
        return False
    for engine in ("dec", "enc", "jpeg", "ofa"):
        total = whole[engine] or 0
        if sum(p[engine] or 0 for p in used) + more * (profile[engine] or 0) > total:
            return False
    return True


def count_free(card: dict[str, Any], profile: dict[str, Any]) -> int:
    """How many further instances of a profile fit: the column Free of ``-lgip``."""
    count, placed = 0, list[tuple[int, int]]()
    for start in sorted(profile["starts"]):
        if is_free(card, profile, start, placed) and has_resources(card, profile, count + 1):
            placed.append((start, profile["size"]))
            count += 1
    return count


def preferred_starts(profile: dict[str, Any]) -> list[int]:
    """Slots in the order in which a driver tries them, as seen on A100 and H100."""
    starts = list(profile["starts"])
    order = {1: [6, 4, 5, 0, 1, 2, 3], 2: [4, 0, 2, 6], 4: [4, 0]}.get(profile["size"], starts)
    return [start for start in order if start in starts] + [start for start in starts if start not in order]


def root_from_environment() -> Path:
    """Where the double's files lie: ``NVIDIA_DOUBLE_ROOT``, else ``/``."""
    return Path(os.environ.get("NVIDIA_DOUBLE_ROOT", "/"))
