"""A host's cards as the planner sees them: declared in the manifest, or as the host reports them."""

from __future__ import annotations

from dataclasses import dataclass

from groundwork.gpu.products import Profile, find_product, known_memory
from groundwork.manifest.platform import Platform

MPS_CLIENTS = 48
"""Clients of one MPS server on Volta and later (NVIDIA MPS documentation, "Limitations")."""


@dataclass(frozen=True)
class Card:
    """One card and what it can do."""

    index: int
    name: str
    uuid: str = ""
    """Empty while only the manifest is known."""
    address: str = ""
    """PCI address as nvidia-smi prints it."""
    memory_mib: int | None = None
    mig: bool = False
    compute_slices: int = 0
    profiles: tuple[Profile, ...] = ()
    sharing: str = "auto"
    """What the manifest allows on it: ``auto``, ``mig``, ``mps``, ``time_slicing``, ``none``."""

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"card {self.index} ({self.name})"

    @property
    def memory_slices(self) -> int:
        """Placement units of its memory."""
        return max((profile.size + max(profile.starts) for profile in self.profiles), default=0)

    def profile(self, name: str) -> Profile | None:
        """Its profile of that name."""
        return next((profile for profile in self.profiles if profile.name == name), None)

    def profile_by_id(self, number: int) -> Profile | None:
        """Its profile of that id."""
        return next((profile for profile in self.profiles if profile.id == number), None)


def declared_cards(platform: Platform, groups: frozenset[str]) -> tuple[Card, ...]:
    """The cards that the manifest gives the hosts of these inventory groups, numbered as nvidia-smi would."""
    cards: list[Card] = []
    for name, machine in platform.machines.items():
        if name not in groups:
            continue
        for declared in machine.gpus:
            product = find_product(declared.model)
            for _ in range(declared.count):
                cards.append(
                    Card(
                        index=len(cards),
                        name=declared.model,
                        memory_mib=known_memory(declared.model),
                        mig=product is not None,
                        compute_slices=product.compute_slices if product else 0,
                        profiles=product.profiles if product else (),
                        sharing=declared.sharing,
                    )
                )
    return tuple(cards)
