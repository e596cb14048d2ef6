"""What one scheduled pass leaves behind: its report, the history of reports, and figures for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from groundwork.engine.results import Result
from groundwork.secrets.keys import write_atomically
from groundwork.site import Site

KEPT = 100
"""Reports kept of each schedule."""
LEVELS = {"baseline": "error", "strict": "warning", "paranoid": "info"}
"""How bad it is when a hardening control of a level fails."""
SEVERITIES = ("critical", "error", "warning", "info")


class Outcome(StrEnum):
    """How a pass ended."""

    SUCCESS = "success"
    FINDINGS = "findings"
    ERROR = "error"
    OUTSIDE_WINDOW = "outside_window"
    """Nothing was done: no maintenance window was open."""
    STOPPED = "stopped"
    """Its time was up: the window closed, or it hung."""


class PassReport(Result):
    """One run of one schedule."""

    environment: str
    schedule: str
    task: str
    started: str
    """ISO 8601, as is ``finished``."""
    finished: str
    seconds: float
    outcome: Outcome
    exit_code: int
    """Of the command; 0 where it was not started."""
    findings: dict[str, int] = Field(default_factory=dict)
    """How many, by severity."""
    drift: int = 0
    """Things that differ from declaration or baseline."""
    message: str = ""
    document: Any = None
    """What the command printed with ``--json``."""


class PassHistory:
    """The folder ``scheduled`` below an environment's state folder; readable for its owner only."""

    def __init__(self, site: Site) -> None:
        self.folder = site.state_folder / "scheduled"

    @property
    def lock_file(self) -> Path:
        """Locked while a pass runs."""
        return self.folder / "lock"

    def metrics_file(self, schedule: str) -> Path:
        """Figures of the last run, in Prometheus' text format."""
        return self.folder / "metrics" / f"groundwork-{schedule}.prom"

    def write(self, report: PassReport) -> Path:
        """Keep a report and the figures of it, and no more than ``KEPT`` reports of a schedule."""
        stamp = re.sub(r"[^0-9T]", "", report.started.partition("+")[0])
        path = self.folder / "reports" / report.schedule / f"{stamp}.json"
        self._write(path, report.model_dump_json(indent=1), 0o600)
        for old in sorted(path.parent.glob("*.json"))[:-KEPT]:
            old.unlink(missing_ok=True)
        figures = render_metrics(report, self.last_success(report.schedule))
        self._write(self.metrics_file(report.schedule), figures, 0o644)
        return path

    def read(self, schedule: str) -> list[PassReport]:
        """Reports of a schedule, the latest last; what cannot be read is left out."""
        reports = []
        for path in sorted((self.folder / "reports" / schedule).glob("*.json")):
            try:
                reports.append(PassReport.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError):
                continue
        return reports

    def last_success(self, schedule: str) -> PassReport | None:
        """The latest run that found nothing wrong."""
        good = [one for one in self.read(schedule) if one.outcome is Outcome.SUCCESS]
        return good[-1] if good else None

    def _write(self, path: Path, text: str, mode: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, text.encode(), mode)


def count_findings(task: str, document: Any) -> tuple[dict[str, int], int]:
    """Findings by severity, and the drift count, of what a command printed with ``--json``."""
    if not isinstance(document, dict):
        return {}, 0
    drift = len(document.get("drifts") or ())
    severities: list[str] = []
    severities += ["error" for check in document.get("checks") or () if check.get("outcome") == "failed"]
    severities += ["error" for one in document.get("endpoints") or () if one.get("finding")]
    severities += ["error" for _ in document.get("problems") or ()]
    for finding in document.get("findings") or ():
        if isinstance(finding, dict) and finding.get("status") in ("failed", "fail", None):
            severities.append(str(finding.get("severity", "error")))
    for host in document.get("hosts") or ():
        if isinstance(host, dict):
            severities += ["error"] if host.get("failed") or host.get("error") else []
            states = [(one.get("status"), one.get("level")) for one in host.get("controls") or ()]
            severities += [LEVELS.get(level, "error") for state, level in states if state in ("failed", "expired")]
    if task == "drift":
        severities += ["warning"] * drift
    return {name: severities.count(name) for name in dict.fromkeys(severities)}, drift


def render_metrics(report: PassReport, success: PassReport | None) -> str:
    """A file for node_exporter's textfile collector (prometheus.io, "Exposition formats")."""
    from datetime import datetime

    labels = f'environment="{report.environment}",schedule="{report.schedule}",task="{report.task}"'
    lines: list[str] = []

    def add(name: str, helped: str, values: Iterable[tuple[str, float]]) -> None:
        full = f"groundwork_schedule_{name}"
        lines.extend([f"# HELP {full} {helped}", f"# TYPE {full} gauge"])
        lines.extend(f"{full}{{{labels}{more}}} {value:.15g}" for more, value in values)

    finished = datetime.fromisoformat(report.finished).timestamp()
    add("last_run_timestamp_seconds", "When the last run ended.", [("", finished)])
    if success is not None:
        good = datetime.fromisoformat(success.finished).timestamp()
        add("last_success_timestamp_seconds", "When the last run that found nothing wrong ended.", [("", good)])
    add("duration_seconds", "How long the last run took.", [("", report.seconds)])
    add("exit_code", "Exit code of the last run's command.", [("", report.exit_code)])
    states = [(f',outcome="{one}"', float(one is report.outcome)) for one in Outcome]
    add("outcome", "1 for how the last run ended.", states)
    names = dict.fromkeys((*SEVERITIES, *report.findings))
    counts = [(f',severity="{name}"', float(report.findings.get(name, 0))) for name in names]
    add("findings", "What the last run found, by severity.", counts)
    add("drift", "Things that differ from declaration or baseline.", [("", report.drift)])
    return "\n".join(lines) + "\n"
