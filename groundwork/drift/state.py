"""What is kept between looks, in the environment's state folder: baselines, first sightings, reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pydantic import BaseModel, ValidationError

from groundwork.drift.items import Drift, DriftReport
from groundwork.drift.snapshot import Snapshot
from groundwork.problems import Problem, ProblemError
from groundwork.secrets.keys import write_atomically
from groundwork.site import Site

KEPT = 100
"""Reports that are kept."""


class Baseline(BaseModel):
    """How a host was when somebody said that it is right."""

    time: str
    snapshot: Snapshot


class DriftState:
    """The folder ``drift`` below an environment's state folder; readable for its owner only."""

    def __init__(self, site: Site) -> None:
        self.folder = site.state_folder / "drift"

    def read_baseline(self, host: str) -> Baseline | None:
        """A host's baseline, or None. Raises ProblemError when its file is damaged."""
        path = self._baseline_path(host)
        try:
            return Baseline.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            allowed = "the file as it was; or remove it, and the next look takes a new baseline"
            raise ProblemError([Problem("the baseline is damaged", file=str(path), allowed=allowed)]) from None

    def write_baseline(self, host: str, baseline: Baseline) -> None:
        """Replace a host's baseline."""
        self._write(self._baseline_path(host), baseline.model_dump_json())

    def has_baseline(self, host: str) -> bool:
        """Whether a host was looked at before."""
        return self._baseline_path(host).exists()

    def last_report(self) -> DriftReport | None:
        """The report of the last look; None where there is none, or none that can be read."""
        paths = sorted(self.folder.glob("reports/*.json"))
        try:
            return DriftReport.model_validate_json(paths[-1].read_bytes()) if paths else None
        except (OSError, ValidationError):
            return None

    def write_report(self, report: DriftReport) -> Path:
        """Keep a report, and no more than ``KEPT`` of them."""
        stamp = re.sub(r"[^0-9T]", "", report.time.partition("+")[0])
        path = self.folder / "reports" / f"{stamp}.json"
        self._write(path, report.model_dump_json(indent=1))
        for old in sorted(self.folder.glob("reports/*.json"))[:-KEPT]:
            old.unlink(missing_ok=True)
        return path

    def first_sightings(self) -> dict[str, tuple[str, str]]:
        """By a drift's key: when it was first seen, and the state it was in."""
        try:
            document = json.loads((self.folder / "seen.json").read_text("utf-8"))
            return {key: (str(time), str(now)) for key, (time, now) in document.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def write_sightings(self, drifts: tuple[Drift, ...], others: dict[str, tuple[str, str]]) -> None:
        """Remember when what is there now was first seen; ``others`` are of hosts that were not looked at."""
        seen = others | {drift.key: (drift.first_seen, drift.now) for drift in drifts}
        self._write(self.folder / "seen.json", json.dumps(seen, indent=0, sort_keys=True))

    def _baseline_path(self, host: str) -> Path:
        return self.folder / "baselines" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', host)}.json"

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, text.encode(), 0o600)
