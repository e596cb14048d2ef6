"""Small drawings of how a figure went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, MARGIN = 120, 24, 2
"""In CSS pixels."""


def draw_sparkline(values: Sequence[float], title: str, low: float | None = None, high: float | None = None) -> str:
    """Return an SVG of a line through ``values``, evenly spaced; an empty string for fewer than two.

    Args:
        values: what is finite of them is drawn; NaN leaves a gap.
        title: what it shows, read on hovering and by screen readers.
        low: the lower edge; by default the smallest value.
        high: the upper edge; by default the largest value.
    """
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return ""
    bottom = min(known) if low is None else min(low, *known)
    top = max(known) if high is None else max(high, *known)
    span = top - bottom or 1.0
    step = (WIDTH - 2 * MARGIN) / (len(values) - 1)
    path: list[str] = []
    drawing = False
    for number, value in enumerate(values):
        if not math.isfinite(value):
            drawing = False
            continue
        x, y = MARGIN + number * step, MARGIN + (HEIGHT - 2 * MARGIN) * (1 - (value - bottom) / span)
        path.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}")
        drawing = True
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" role="img" class="sparkline">'
        f'<title>{escape(title)}</title><path d="{" ".join(path)}" fill="none" stroke="currentColor"/></svg>'
    )
