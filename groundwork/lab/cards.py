"""Cards for lab hosts: NVIDIA's programs as test doubles (``tests/doubles``), told which cards there are."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundwork.gpu.products import find_product, known_memory, read_table
from groundwork.lab.archives import FileEntry

LIBRARY = "/usr/local/lib/nvidia-double"
DESCRIPTION = "/etc/nvidia-double/cards.json"
PROGRAMS = {"nvidia-smi": "smi", "nvidia-cuda-mps-control": "mps"}
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
# A card of which nothing is known still has some memory.
_SOME_MEMORY_MIB = 16_384


def describe_cards(models: Sequence[str], owner: str) -> dict[str, Any]:
    """Describe cards as the doubles read it; ``owner`` (a host's name) makes equal cards differ."""
    rows = {row["key"]: row for row in read_table()["products"]}
    cards = []
    for index, model in enumerate(models):
        product = find_product(model)
        row: dict[str, Any] = rows[product.key] if product else {"profiles": [], "compute_slices": 0}
        cards.append(
            {
                "index": index,
                "uuid": f"GPU-{uuid.uuid5(_NAMESPACE, f'{owner}/{index}/{model}')}",
                "address": f"00000000:{index + 1:02X}:00.0",
                "name": model,
                "memory_mib": known_memory(model) or _SOME_MEMORY_MIB,
                "reset_for_mode": bool(product and product.reset_for_mode),
                "compute_slices": row["compute_slices"],
                "profiles": [p for p in row["profiles"] if p["starts"] and p["id"] is not None],
            }
        )
    return {"cards": cards}


def double_files(root: Path, models: Sequence[str], owner: str) -> list[FileEntry]:
    """The files that give a host these cards; ``root`` is the checkout."""
    folder = root / "tests/doubles/nvidia_double"
    files = [FileEntry(f"{LIBRARY}/nvidia_double/{f.name}", f.read_text("utf-8")) for f in sorted(folder.glob("*.py"))]
    files.append(FileEntry(DESCRIPTION, json.dumps(describe_cards(models, owner), indent=1) + "\n"))
    for program, module in PROGRAMS.items():
        text = f'#!/bin/sh\nPYTHONPATH={LIBRARY} exec python3 -B -m nvidia_double.{module} "$@"\n'
        files.append(FileEntry(f"/usr/bin/{program}", text, 0o755))
    return files
