"""What the commands say: plain values, the same for people and for ``--json``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from groundwork.problems import Problem

GOOD, ERROR, FINDINGS = 0, 1, 2


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class Run(_Report):
    """One job's set, as it was just made or not made."""

    item: str
    kind: str
    host: str
    set: str = ""
    repositories: dict[str, dict[str, Any]] = {}
    skipped: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether every repository has the set."""
        return not self.error and all("error" not in one for one in self.repositories.values())


class KeptSet(_Report):
    """One set in one repository."""

    item: str
    kind: str
    repository: str
    set: str
    host: str
    bytes: int
    objects: int

    @property
    def age(self) -> float:
        """Its age in seconds."""
        moment = datetime.strptime(self.set[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return (datetime.now(UTC) - moment).total_seconds()


class Checked(_Report):
    """One item in one repository, read back."""

    item: str
    kind: str
    repository: str
    sets: int = 0
    objects: int = 0
    bytes: int = 0
    newest: dict[str, dict[str, Any]] = {}
    findings: list[str] = []
    seconds: float = 0.0


class BackupReport(_Report):
    """What one of the commands found or did."""

    environment: str
    verb: str
    runs: list[Run] = []
    sets: list[KeptSet] = []
    checks: list[Checked] = []
    repaired: dict[str, list[str]] = {}
    """Files that were taken out, by item and repository."""
    left_out: dict[str, str] = {}
    problems: list[dict[str, object]] = []
    seconds: float = 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def findings(self) -> list[dict[str, str]]:
        """What checks found, one by one: for histories and figures that count findings."""
        return [
            {"severity": "error", "item": one.item, "repository": one.repository, "message": told}
            for one in self.checks
            for told in one.findings
        ]

    @property
    def exit_code(self) -> int:
        """0: good; 1: something failed or could not be asked; 2: a check found something."""
        if self.problems or not all(one.good for one in self.runs):
            return ERROR
        return FINDINGS if self.findings or (self.verb == "check" and self.left_out) else GOOD


def as_plain(problems: list[Problem]) -> list[dict[str, object]]:
    """Problems as a report has them."""
    return [one.as_dict() for one in problems]
