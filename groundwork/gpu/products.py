"""NVIDIA's products with MIG and their profiles, from ``products.yaml``; a host's own lists have the last word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("products.yaml")
ENGINES = ("dec", "enc", "jpeg", "ofa")
"""Media engines that instances compete for."""


@dataclass(frozen=True, order=True)
class Profile:
    """One GPU instance profile of one product, in the card's own placement units."""

    name: str
    id: int
    """As ``nvidia-smi mig -lgip`` prints it; the same name has other ids on other products."""
    maximum: int
    compute: int
    """Compute slices."""
    size: int
    """Memory slices that an instance spans."""
    starts: tuple[int, ...]
    memory_mib: int
    engines: tuple[int, ...] = (0, 0, 0, 0)
    """Decoders, encoders, JPEG and optical flow engines; 0 where unknown, so that they never stand in the way."""

    @property
    def plain(self) -> bool:
        """Whether it has no attribute (``+me``, ``+gfx``, ``-me``)."""
        return not re.search(r"[+-]", self.name)


@dataclass(frozen=True)
class Product:
    """One product. ``profiles`` holds those whose slots are known; ``names`` all that it offers."""

    key: str
    pattern: str
    pci_devices: tuple[str, ...]
    memory_mib: int | None
    compute_slices: int
    memory_slices: int | None
    reset_for_mode: bool
    """Ampere: a change of the MIG mode needs a reset, and survives a reboot. Later ones: neither."""
    profiles: tuple[Profile, ...]
    names: tuple[str, ...]


@cache
def list_products() -> tuple[Product, ...]:
    """Return every product of the table."""
    return tuple(_read_product(row) for row in read_table()["products"])


def find_product(model: str) -> Product | None:
    """Return the product that a card's name stands for; None for cards without MIG."""
    names = (model, model if model.startswith("NVIDIA ") else f"NVIDIA {model}")
    return next((p for p in list_products() if any(re.search(p.pattern, name) for name in names)), None)


def known_memory(model: str) -> int | None:
    """Memory of a card in MiB where it is known before its host is asked."""
    product = find_product(model)
    if product:
        largest = max((profile.memory_mib for profile in product.profiles), default=0)
        return product.memory_mib or largest or None
    rows = read_table()["without_mig"]
    return next((int(row["memory_mib"]) for row in rows if re.search(row["name"], model)), None)


@cache
def read_table() -> dict[str, Any]:
    """Return the table as it is written, with the figures that only the doubles need."""
    table: dict[str, Any] = yaml.load(TABLE.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return table


def _read_product(row: dict[str, Any]) -> Product:
    known = [p for p in row["profiles"] if p["starts"] and p["id"] is not None and p["max"]]
    return Product(
        key=row["key"],
        pattern=row["name"],
        pci_devices=tuple(row["pci_devices"]),
        memory_mib=row["memory_mib"],
        compute_slices=row["compute_slices"],
        memory_slices=row["memory_slices"],
        reset_for_mode=row["mode"] == "infoROM",
        profiles=tuple(_read_profile(profile, row) for profile in known),
        names=tuple(profile["name"] for profile in row["profiles"]),
    )


def _read_profile(profile: dict[str, Any], row: dict[str, Any]) -> Profile:
    # Without a printed figure the name's own number of gigabytes is a little more than what the instance has.
    gibibytes = profile["memory"] or float(profile["name"].partition("g.")[2].partition("gb")[0])
    return Profile(
        name=profile["name"],
        id=profile["id"],
        maximum=profile["max"],
        compute=profile["compute"],
        size=profile["size"],
        starts=tuple(profile["starts"]),
        memory_mib=int(gibibytes * 1024),
        engines=tuple(profile[engine] or 0 for engine in ENGINES),
    )
