"""From files to a validated Platform, or every mistake in them at once."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from groundwork.manifest import overlay
from groundwork.manifest.checks import check
from groundwork.manifest.errors import translate_error
from groundwork.manifest.platform import Platform
from groundwork.manifest.source import Source, read
from groundwork.problems import Problem, ProblemError


@dataclass(frozen=True)
class LoadedPlatform:
    """A validated manifest, and where each of its values was written."""

    platform: Platform
    source: Source
    folder: Path
    """Folder that the manifest's relative paths start from."""


def load(folder: Path, platform: str, environment: str, *, root: Path | None = None) -> LoadedPlatform:
    """Load ``<folder>/<platform>.yaml`` with ``<platform>.<environment>.yaml`` laid over it, if there is one.

    ``root`` is what file names in messages are relative to. Raises ProblemError with every mistake in the
    files: YAML, unknown and missing keys, wrong values, references that point nowhere, missing files.
    """
    base_path = folder / f"{platform}.yaml"
    if not base_path.is_file():
        known = sorted(p.stem for p in folder.glob("*.yaml") if "." not in p.stem)
        nearest = difflib.get_close_matches(platform, known, 1)
        hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        raise ProblemError(
            [
                Problem(
                    f"there is no manifest for platform {platform!r}{hint}",
                    _shown(base_path, root),
                    allowed=", ".join(known) or "a file in platforms/",
                )
            ]
        )
    source = read(base_path, name=_shown(base_path, root))
    overlay_path = folder / f"{platform}.{environment}.yaml"
    if overlay_path.is_file():
        source = overlay.merge(source, read(overlay_path, name=_shown(overlay_path, root)))
    loaded = LoadedPlatform(validate(source), source, folder)
    problems = check(loaded.platform, folder)
    if loaded.platform.platform != platform:
        problems.append(
            Problem(
                "differs from the file's name",
                key="platform",
                given=loaded.platform.platform,
                allowed=platform,
            )
        )
    if problems:
        raise ProblemError([source.place(problem) for problem in problems])
    return loaded


def validate(source: Source) -> Platform:
    """Validate plain data against the models. Raises ProblemError with every mistake."""
    try:
        return Platform.model_validate(source.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        raise ProblemError([translate_error(dict(item), source, Platform) for item in errors]) from None


def _shown(path: Path, root: Path | None) -> str:
    return str(path.relative_to(root)) if root and path.is_relative_to(root) else str(path)
