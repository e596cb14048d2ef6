"""Figures of a measurement."""

from __future__ import annotations

import math

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def find_percentile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank percentile of sorted values, or None if there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def summarise(latencies: list[float]) -> dict[str, float | None]:
    """Return the percentiles and the largest of latencies in seconds, to ten microseconds."""
    ordered = sorted(latencies)
    found = {name: find_percentile(ordered, share) for name, share in SHARES.items()}
    return {name: None if value is None else round(value, 5) for name, value in found.items()}
