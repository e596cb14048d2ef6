"""Reads a table as ``nft list table`` prints it, and as our template writes it, into one comparable form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_BLOCK = re.compile(r"(set|chain|map|flowtable|counter|quota|limit|secmark|synproxy|ct \w+) (\S+) \{")
_GROUP = re.compile(r"\{ ([^{}]*) \}")


@dataclass(frozen=True)
class Table:
    """One table. Equal tables filter alike: order matters among rules, not among elements or blocks."""

    sets: dict[str, frozenset[str]] = field(default_factory=dict)
    """Elements by set."""
    blocks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Lines of each chain and of whatever else there is, by kind and name; for a set, how it is declared."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no such table, or nothing in it."""
        return not self.blocks


def parse_table(text: str) -> Table:
    """Return the table that a text declares; an empty one for an empty text."""
    sets: dict[str, frozenset[str]] = {}
    blocks: dict[str, tuple[str, ...]] = {}
    name, kind, lines = "", "", list[str]()
    for line in _join_elements(text):
        begins = _BLOCK.fullmatch(line)
        if begins and not name:
            kind, name, lines = begins[1], begins[2], []
        elif line == "}" and name:
            if kind == "set":
                found = next((row for row in lines if row.startswith("elements = ")), "")
                sets[name] = _read_elements(found)
                lines = [row for row in lines if row != found]
            blocks[f"{kind} {name}"] = tuple(lines)
            name = ""
        elif name:
            lines.append(_GROUP.sub(_sort_group, line))
        elif line not in ("}", "delete table inet groundwork") and not line.startswith("table inet groundwork"):
            blocks[line] = ()
    return Table(sets, blocks)


def list_differences(live: Table, wanted: Table) -> list[str]:
    """Say in lines with ``+`` and ``-`` what has to change; an empty list when the tables are equal."""
    lines: list[str] = []
    for name in sorted({*live.blocks, *wanted.blocks}):
        old, new = live.blocks.get(name), wanted.blocks.get(name)
        if old != new:
            lines += [f"- {name}: {row}" for row in old or () if row not in (new or ())]
            lines += [f"+ {name}: {row}" for row in new or () if row not in (old or ())]
            if set(old or ()) == set(new or ()):
                lines.append(f"{'+' if old is None else '-' if new is None else '~'} {name}")
    for name in sorted({*live.sets, *wanted.sets}):
        before, after = live.sets.get(name, frozenset()), wanted.sets.get(name, frozenset())
        lines += [f"- {name}: {item}" for item in sorted(before - after)]
        lines += [f"+ {name}: {item}" for item in sorted(after - before)]
    return lines


def list_missing(live: Table, wanted: dict[str, tuple[str, ...]], kinds: Iterable[str]) -> dict[str, list[str]]:
    """Return the elements that sets of the live table lack, for sets whose name begins with one of ``kinds``."""
    missing: dict[str, list[str]] = {}
    for name, elements in wanted.items():
        if name in live.sets and name.startswith(tuple(kinds)):
            lacking = [element for element in elements if element not in live.sets[name]]
            if lacking:
                missing[name] = lacking
    return missing


def _join_elements(text: str) -> Iterator[str]:
    """The lines without comments and indentation; a list of elements over several lines becomes one."""
    parts: list[str] = []
    for row in text.splitlines():
        line = row.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("elements = {") or parts:
            parts.append(line)
            if not line.endswith("}"):
                continue
            line, parts = " ".join(parts), []
        yield line


def _read_elements(line: str) -> frozenset[str]:
    inside = line.removeprefix("elements = {").removesuffix("}")
    return frozenset(" ".join(item.split()) for item in inside.split(",") if item.strip())


def _sort_group(match: re.Match[str]) -> str:
    return f"{{ {', '.join(sorted(part.strip() for part in match[1].split(',')))} }}"
