"""Writes the list of hardening controls into docs/roles/hardening.md: python docs/list_controls.py"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from groundwork.report.hardening import Level
from roles.hardening.catalogue import CONTROLS, GROUPS, select

PAGE = Path(__file__).parent / "roles" / "hardening.md"
BEGIN, END = "<!-- begin controls -->", "<!-- end controls -->"


def render_controls() -> str:
    """The list as Markdown: a table for each group."""
    counts = ", ".join(f"{len(select(level))} for `{level}`" for level in Level)
    lines = [f"{len(CONTROLS)} controls: {counts}. *K*: needs a kernel of its own, wholly or in part."]
    for group in GROUPS:
        lines += [
            "",
            f"### {group}",
            "",
            "| control | what | why | level | from | K | not where |",
            "|---|" + "---|" * 6,
        ]
        for control in (one for one in CONTROLS if one.group == group):
            exceptions = "; ".join(f"{workload}: {why}" for workload, why in sorted(control.unless.items()))
            cells = [f"`{control.id}`", control.title, control.rationale, str(control.level)]
            cells += [", ".join(control.references), "K" if control.needs_kernel else "", exceptions]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def place(page: str) -> str:
    """The page with the present list between its marks. Raises ValueError where the marks are missing."""
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE} lacks {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{render_controls()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(place(PAGE.read_text()))
