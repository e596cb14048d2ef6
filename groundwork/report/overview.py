"""Everything that a report shows of an environment, as plain values; what has no data says why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, how it stands, and what else there is to say about it."""

    text: str
    state: str = ""
    """``good``, ``warn``, ``bad``, ``none`` (no data), or nothing where it is no judgement."""
    title: str = ""
    svg: str = ""
    """A drawing beside the text, made by this package."""


@dataclass(frozen=True)
class Section:
    """One part of the report: a table, a drawing, or why there is neither."""

    name: str
    """Anchor, and identifier in the document."""
    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    svg: str = ""
    note: str = ""
    """Where the data is from, and of when."""
    missing: str = ""
    """Why there is no data; empty where there is."""

    @property
    def worst(self) -> str:
        """How the section stands: as its worst cell."""
        if self.missing:
            return "none"
        states = {cell.state for row in self.rows for cell in row}
        return next((state for state in ("bad", "warn", "none", "good") if state in states), "")


@dataclass(frozen=True)
class Overview:
    """A report."""

    environment: str
    platform: str
    time: str
    """When it was made (ISO 8601, UTC)."""
    sections: tuple[Section, ...] = ()

    @property
    def missing(self) -> Mapping[str, str]:
        """Why sections have no data, by their name."""
        return {section.name: section.missing for section in self.sections if section.missing}


@dataclass
class HostFacts:
    """What is known of one host, for the matrix of the fleet."""

    roles: tuple[str, ...] = ()
    up: bool | None = None
    figures: dict[str, float] = field(default_factory=dict)
    """``processor``, ``memory`` and ``disk`` in percent."""
    failed_checks: int | None = None
    failed_controls: int | None = None
    drifts: int | None = None
    expires: str = ""
    """When the first of its certificates ends (ISO 8601)."""
