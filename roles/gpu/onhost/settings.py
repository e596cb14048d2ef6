"""What the controller declares about a platform's cards, and where things are on the host."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

DEFAULT, EXCLUSIVE = "Default", "Exclusive_Process"
Place = tuple[int, int]
"""Profile id and start slot."""


@dataclass(frozen=True)
class Target:
    """How one card is to be: MIG on or off, its instances, its compute mode."""

    mig: bool | None
    """None for a card without MIG."""
    instances: frozenset[Place] = frozenset()
    compute_mode: str = DEFAULT


@dataclass(frozen=True)
class Consumer:
    """A unit and its part of a card."""

    unit: str
    card: str
    sharing: str
    profile_id: int = -1
    start: int = -1
    daemon: str = ""
    thread_percentage: int | None = None
    memory_mib: int | None = None


@dataclass(frozen=True)
class Daemon:
    """One MPS control daemon, of a card or of the instance at ``start``."""

    key: str
    card: str
    start: int
    thread_percentage: int
    memory_mib: int | None


@dataclass(frozen=True)
class Settings:
    """Everything declared for one platform on this host."""

    platform: str
    cards: dict[str, Target]
    consumers: tuple[Consumer, ...]
    daemons: tuple[Daemon, ...]
    root: Path = Path("/")

    @property
    def run_folder(self) -> Path:
        """Environment files; a reboot empties it."""
        return self.root / f"run/groundwork/gpu-{self.platform}"

    @property
    def state_folder(self) -> Path:
        """What is remembered about layouts."""
        return self.root / f"var/lib/groundwork/gpu/{self.platform}"

    @property
    def proven_file(self) -> Path:
        """The last declaration that was laid out and read back; what a boot restores."""
        return self.state_folder / "proven.json"

    @property
    def stopped_file(self) -> Path:
        """Units that a change under way has stopped."""
        return self.state_folder / "stopped.json"

    def daemon_unit(self, key: str) -> str:
        """Unit of an MPS daemon."""
        return f"groundwork-mps-{self.platform}@{key}.service"

    def pipe_folder(self, key: str) -> str:
        """Where clients of a daemon find it."""
        return f"/run/groundwork-mps-{self.platform}/{key}"

    def environment_file(self, unit: str) -> Path:
        """The environment of a consumer."""
        return self.run_folder / f"{unit.removesuffix('.service')}.env"


def read_settings(document: dict[str, Any], root: Path = Path("/")) -> Settings:
    """Make settings of the controller's document. Raises KeyError, TypeError or ValueError for another form."""
    cards = {
        uuid: Target(
            None if card["mig"] is None else bool(card["mig"]),
            frozenset((int(profile), int(start)) for profile, start in card["instances"]),
            str(card["compute_mode"]),
        )
        for uuid, card in document["cards"].items()
    }
    consumers = tuple(Consumer(**consumer) for consumer in document["consumers"])
    daemons = tuple(Daemon(**daemon) for daemon in document["daemons"])
    return Settings(str(document["platform"]), cards, consumers, daemons, root)


def load_settings(path: Path, root: Path = Path("/")) -> Settings | None:
    """The settings of a file; None where there is none that can be read."""
    try:
        return read_settings(json.loads(path.read_text("utf-8")), root)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kept(settings: Settings) -> Settings:
    """The declaration without the cards that it gives up: nobody has a part of them."""
    used = {consumer.card for consumer in settings.consumers}
    return replace(settings, cards={uuid: card for uuid, card in settings.cards.items() if uuid in used})


def as_document(settings: Settings) -> dict[str, object]:
    """Settings as the controller wrote them."""
    cards = {
        uuid: {
            "mig": target.mig,
            "instances": sorted([profile, start] for profile, start in target.instances),
            "compute_mode": target.compute_mode,
        }
        for uuid, target in settings.cards.items()
    }
    return {
        "platform": settings.platform,
        "cards": cards,
        "consumers": [vars(consumer) for consumer in settings.consumers],
        "daemons": [vars(daemon) for daemon in settings.daemons],
    }


def write_file(path: Path, text: str, mode: int = 0o644) -> bool:
    """Replace a file in one step where its content differs; tells whether it did."""
    try:
        if path.read_text("utf-8") == text:
            return False
    except OSError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, "utf-8")
    new.chmod(mode)
    new.replace(path)
    return True
