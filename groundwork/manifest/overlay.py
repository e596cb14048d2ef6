"""Laying an environment's overlay over a platform manifest.

The rules: mappings are merged key by key; lists, words and numbers of the overlay replace those of the
base; ``null`` in the overlay removes the key. An overlay cannot rename the platform.
"""

from __future__ import annotations

from typing import Any

from groundwork.manifest.source import Key, Source


def merge(base: Source, overlay: Source) -> Source:
    """Return a new Source with ``overlay`` laid over ``base``; each value keeps the mark of its own file.

    A key that the overlay removes keeps the overlay's mark, so that a message about its absence names the
    line that removed it.
    """
    replaced: set[Key] = set()
    data = _merge_mapping(base.data, overlay.data, (), replaced)
    marks = {path: mark for path, mark in base.marks.items() if not _is_below(path, replaced)}
    marks.update({path: mark for path, mark in overlay.marks.items() if _is_below(path, replaced)})
    return Source(data, marks)


def _merge_mapping(base: dict[str, Any], overlay: dict[str, Any], path: Key, replaced: set[Key]) -> dict[str, Any]:
    """Merge two mappings; the paths at which the overlay's value counts alone are added to ``replaced``."""
    result = dict(base)
    for key, value in overlay.items():
        here = (*path, key)
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge_mapping(result[key], value, here, replaced)
            continue
        replaced.add(here)
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _without_nulls(value)
    return result


def _is_below(path: Key, replaced: set[Key]) -> bool:
    return any(path[:length] in replaced for length in range(1, len(path) + 1))


def _without_nulls(value: Any) -> Any:
    """A ``null`` below a key that the base lacks removes nothing, so it must not arrive as a value."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
