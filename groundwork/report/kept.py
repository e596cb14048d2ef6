"""The reports that lie on the controller: the last of each kind, wherever it is from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundwork.drift.state import DriftState
from groundwork.problems import Problem, ProblemError
from groundwork.scheduled.passes import PassHistory, PassReport
from groundwork.site import Site

KINDS = {"verify": "checks", "hardening": "hosts", "drift": "drifts"}
"""What is reported, with the key by which its document is known."""


@dataclass(frozen=True)
class Kept:
    """A document that a command printed with ``--json``."""

    document: dict[str, Any]
    time: str
    """When it was made (ISO 8601); empty where that is not known."""
    source: str


def list_passes(site: Site) -> list[PassReport]:
    """The last run of each declared schedule that ever ran."""
    history = PassHistory(site)
    reports = (history.read(name) for name in site.platform.schedules)
    return [each[-1] for each in reports if each]


def find_kept(site: Site, given: Sequence[Path] = ()) -> dict[str, Kept]:
    """The latest document of each kind; files that were given come before what is kept.

    Raises ProblemError for files that are no such document, or of another environment.
    """
    found: dict[str, Kept] = {}
    for kind, kept in _list_kept(site):
        if kind not in found or kept.time >= found[kind].time:
            found[kind] = kept
    problems: list[Problem] = []
    for path in given:
        try:
            document = json.loads(path.read_text("utf-8"))
            kind = _kind_of(document)
        except (OSError, ValueError) as error:
            problems.append(Problem(f"cannot be read: {error}", file=str(path)))
            continue
        if not kind:
            allowed = "what verify, harden --check or drift print with --json"
            problems.append(Problem("is no report", file=str(path), allowed=allowed))
        elif document.get("environment") != site.environment:
            of = str(document.get("environment"))
            problems.append(Problem("is of another environment", str(path), given=of, allowed=site.environment))
        else:
            found[kind] = Kept(document, str(document.get("started") or document.get("time") or ""), path.name)
    if problems:
        raise ProblemError(problems)
    return found


def _list_kept(site: Site) -> Iterator[tuple[str, Kept]]:
    history = PassHistory(site)
    for name in site.platform.schedules:
        for report in reversed(history.read(name)):
            kind = _kind_of(report.document)
            if kind:
                yield kind, Kept(report.document, report.finished, f"schedule {name}")
                break
    last = DriftState(site).last_report()
    if last is not None:
        yield "drift", Kept(last.model_dump(mode="json"), last.time, "groundwork drift")


def _kind_of(document: Any) -> str:
    if not isinstance(document, dict):
        return ""
    if "schema_version" in document and "hosts" in document:
        return "hardening"
    return next((kind for kind in ("drift", "verify") if isinstance(document.get(KINDS[kind]), list)), "")
