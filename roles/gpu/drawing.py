"""Draws cards, slots and owners: as text for a terminal, and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from roles.gpu.cards import Card
from roles.gpu.plan import HostPlan
from roles.gpu.shares import Placement

WIDTH = 64
"""Characters between the frame's sides."""
_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#b07aa1", "#edc948", "#9c755f")
_CARD_WIDTH, _CARD_HEIGHT, _MARGIN = 880, 76, 16


def draw_text(plans: Sequence[HostPlan]) -> str:
    """One block a card: its slots or its clients, each with its owner."""
    blocks = [_draw_card(plan, card) for plan in plans for card in plan.cards]
    return "\n\n".join(blocks) if blocks else "no card"


def _draw_card(plan: HostPlan, card: Card) -> str:
    placements = plan.on(card)
    lines = [f"{plan.host}: {card.label}{f'  {card.uuid}' if card.uuid else ''}  {_mode(plan, card)}"]
    if not placements:
        return f"{lines[0]}\n  nobody has a part of it; it is left alone"
    top, middle, bottom = "┌", "│", "└"
    parts = list(_parts(plan, card))
    for position, (share, label) in enumerate(parts):
        cells = max(len(label) + 2, round(share * WIDTH))
        last = position == len(parts) - 1
        top += "─" * cells + ("┐" if last else "┬")
        middle += f" {label}".ljust(cells) + "│"
        bottom += "─" * cells + ("┘" if last else "┴")
    lines += [top, middle, bottom]
    lines += [f"  {p.unit.removesuffix('.service')}: {p.reason}" for p in placements]
    return "\n".join(lines)


def _mode(plan: HostPlan, card: Card) -> str:
    placements = plan.on(card)
    if not placements:
        return ""
    if plan.uses_mig(card):
        return "MIG" + (" with MPS" if any(p.daemon for p in placements) else "")
    return {"mps": "MPS", "time_slicing": "time slicing"}[placements[0].sharing]


def _parts(plan: HostPlan, card: Card) -> list[tuple[float, str]]:
    """The card from left to right: each part's size and text."""
    placements = plan.on(card)
    if not plan.uses_mig(card):
        known = [(_weight(p, len(placements)), _owner(p)) for p in placements]
        rest = 1.0 - sum(share for share, _ in known)
        return [*known, *([(rest, "free")] if rest > 0.005 else [])]
    parts: list[tuple[float, str]] = []
    unit, width = 0, card.memory_slices
    for start in sorted({p.start for p in placements}):
        owners = [p for p in placements if p.start == start]
        if start > unit:
            parts.append(((start - unit) / width, "free"))
        more = f" +{len(owners) - 1}" if len(owners) > 1 else ""
        parts.append((owners[0].size / width, f"{start}: {owners[0].profile} {owners[0].group}{more}"))
        unit = start + owners[0].size
    if unit < width:
        parts.append(((width - unit) / width, "free"))
    return parts


def _weight(placement: Placement, count: int) -> float:
    return (placement.thread_percentage or 100 / count) / 100


def _owner(placement: Placement) -> str:
    percent = f" {placement.thread_percentage} %" if placement.thread_percentage else ""
    return f"{placement.group}{percent}"


def draw_svg(plans: Sequence[HostPlan], title: str) -> str:
    """The same as a picture; every part says on hovering why it is there."""
    rows: list[str] = []
    y = _MARGIN + 20
    groups = list(dict.fromkeys(p.group for plan in plans for p in plan.placements))
    colours = {group: _COLOURS[i % len(_COLOURS)] for i, group in enumerate(groups)}
    for plan in plans:
        for card in plan.cards:
            head = f"{plan.host}: {card.label} {_mode(plan, card)}"
            rows.append(f'<text x="{_MARGIN}" y="{y}" class="head">{escape(head)}</text>')
            rows += _svg_card(plan, card, y + 8, colours)
            y += _CARD_HEIGHT
    size = f'width="{_CARD_WIDTH + 2 * _MARGIN}" height="{y + _MARGIN}"'
    style = (
        "text{font:12px sans-serif;fill:#222}.head{font-weight:bold}.free{fill:#eee}rect{stroke:#fff;stroke-width:2}"
    )
    body = "\n".join(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title>\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _svg_card(plan: HostPlan, card: Card, y: int, colours: dict[str, str]) -> list[str]:
    x = float(_MARGIN)
    parts = _parts(plan, card) if plan.on(card) else [(1.0, "left alone")]
    total = max(1.0, sum(share for share, _ in parts))
    rows = []
    for share, label in parts:
        width = share / total * _CARD_WIDTH
        group = next((g for g in colours if g in label.split()), "")
        fill = f'fill="{colours[group]}" fill-opacity="0.55"' if group else 'class="free"'
        reasons = "; ".join(p.reason for p in plan.on(card) if p.group == group)
        rows.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="40" {fill}><title>{escape(reasons)}</title></rect>'
        )
        rows.append(f'<text x="{x + 6:.1f}" y="{y + 25}">{escape(label)}</text>')
        x += width
    return rows
