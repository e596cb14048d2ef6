"""Laying an environment's overlay over a platform manifest.

The rules: mappings are merged key by key; lists, words and numbers of the overlay replace those of the
base; ``null`` in the overlay removes the key. An overlay cannot rename the platform.
"""

from __future__ import annotations

from typing import Any

from groundwork.manifest.source import Key, Mark, Source


def merge(base: Source, overlay: Source) -> Source:
    """Return a new Source with ``overlay`` laid over ``base``; each value keeps the mark of its own file."""
    marks = dict(base.marks)
    data = _merge_mapping(base.data, overlay.data, (), marks, overlay.marks)
    return Source(data, marks)


def _merge_mapping(
    base: dict[str, Any], overlay: dict[str, Any], path: Key, marks: dict[Key, Mark], new: dict[Key, Mark]
) -> dict[str, Any]:
    result = dict(base)
    for key, value in overlay.items():
        here = (*path, key)
        if value is None:
            result.pop(key, None)
            _forget(marks, here)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge_mapping(result[key], value, here, marks, new)
        else:
            _forget(marks, here)
            marks.update({mark: new[mark] for mark in new if mark[: len(here)] == here})
            result[key] = _without_nulls(value)
    return result


def _forget(marks: dict[Key, Mark], path: Key) -> None:
    for known in [known for known in marks if known[: len(path)] == path]:
        del marks[known]


def _without_nulls(value: Any) -> Any:
    """A ``null`` below a key that the base lacks removes nothing, so it must not arrive as a value."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
