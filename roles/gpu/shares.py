"""What the processes of one host ask of its cards."""

from __future__ import annotations

from dataclasses import dataclass

from groundwork.manifest.platform import Platform
from groundwork.topology.model import Topology
from groundwork.topology.sharing import Sharing, sharing_of
from roles.gpu.cards import Card

MEBIBYTE = 1024**2


@dataclass(frozen=True)
class Ask:
    """One share: of one process, or of all of a group's where they share a MIG instance by MPS."""

    group: str
    units: tuple[str, ...]
    sharing: Sharing
    fraction: float | None = None
    profile: str | None = None
    thread_percentage: int | None = None
    memory_mib: int | None = None
    card: int | None = None

    @property
    def key(self) -> str:
        """Where it is declared."""
        return f"groups.{self.group}.gpu"

    @property
    def measure(self) -> str:
        """How messages call it."""
        if self.profile:
            return self.profile
        if self.fraction is not None:
            return f"{self.fraction:g} of a card"
        return f"{self.thread_percentage} % of the threads"

    def memory_on(self, card: Card) -> int | None:
        """Its memory limit on a card in MiB: the declared one, else the fraction of the card's."""
        if self.memory_mib is not None or self.fraction is None or card.memory_mib is None:
            return self.memory_mib
        return int(self.fraction * card.memory_mib + 1e-6)

    @property
    def percentage(self) -> int:
        """Its part of the card's threads as MPS client, in percent."""
        return self.thread_percentage or max(1, int((self.fraction or 1.0) * 100 + 1e-6))


@dataclass(frozen=True)
class Placement:
    """Where one process finds its share, and why there."""

    unit: str
    group: str
    card: Card
    sharing: Sharing
    profile: str = ""
    profile_id: int = -1
    start: int = -1
    size: int = 0
    thread_percentage: int | None = None
    memory_mib: int | None = None
    daemon: str = ""
    """Name of the MPS daemon that it is a client of; empty without one."""
    reason: str = ""


def daemon_key(card: Card, start: int = -1) -> str:
    """Name of the MPS daemon of a card, or of the MIG instance that starts at a slot."""
    name = card.uuid.removeprefix("GPU-").partition("-")[0] or f"card{card.index}"
    return name if start < 0 else f"{name}-{start}"


def list_asks(platform: Platform, topology: Topology, host: str) -> list[Ask]:
    """Return the shares of a host's processes, in the order in which their groups are declared."""
    asks: list[Ask] = []
    for name, group in platform.groups.items():
        share = group.gpu
        mode = sharing_of(platform, name)
        units = tuple(p.unit_name for p in topology.processes_on(host) if p.group == name)
        if share is None or mode is None or not units:
            continue
        # An instance by its profile that clients of MPS share is one for all of them.
        bundles = [units] if mode == "mps" and share.mig_profile else [(unit,) for unit in units]
        memory = share.memory // MEBIBYTE if share.memory else None
        asks += [
            Ask(
                group=name,
                units=bundle,
                sharing=mode,
                fraction=share.fraction,
                profile=share.mig_profile,
                thread_percentage=share.thread_percentage,
                memory_mib=memory,
                card=share.card,
            )
            for bundle in bundles
        ]
    return asks
