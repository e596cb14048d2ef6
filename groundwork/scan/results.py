"""What the judge said, as data and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from groundwork.engine.results import ExitCode, Result
from groundwork.problems import Problem

NAMESPACE = "{http://checklists.nist.gov/xccdf/1.2}"
PREFIX = "xccdf_org.ssgproject.content_"
VERSIONS = {"bookworm": "12", "trixie": "13"}
PROFILES = (
    "cis_level1_server",
    "cis_level2_server",
    "standard",
    "anssi_bp28_minimal",
    "anssi_bp28_intermediary",
    "anssi_bp28_enhanced",
    "anssi_bp28_high",
)
SCORED = ("pass", "fail", "error", "unknown")
"""Results that count; ``notapplicable``, ``notchecked`` and ``notselected`` do not. Only ``pass`` counts as passed."""


class ScanResult(Result):
    """One profile on one host."""

    host: str
    release: str
    profile: str
    rules: dict[str, str]
    """Result of each rule by its short name."""
    seconds: float = 0.0

    def names(self, *outcomes: str) -> list[str]:
        """Names of the rules that ended so, sorted."""
        return sorted(name for name, outcome in self.rules.items() if outcome in outcomes)

    @property
    def scored(self) -> int:
        """Rules that count."""
        return len(self.names(*SCORED))

    @property
    def passed(self) -> int:
        """Rules that pass."""
        return len(self.names("pass"))

    @property
    def share(self) -> float:
        """Passed among scored, 0 to 1; 0 where nothing was scored."""
        return self.passed / self.scored if self.scored else 0.0


class ScanReport(Result):
    """All profiles on all hosts."""

    results: tuple[ScanResult, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0 every scored rule passes, 2 some do not, 1 a host could not be scanned."""
        if self.problems:
            return ExitCode.ERROR
        return ExitCode.FINDINGS if any(one.passed < one.scored for one in self.results) else ExitCode.GOOD


def parse_results(text: str) -> dict[str, str]:
    """Each rule's result from the file that ``oscap xccdf eval --results`` writes. Raises ValueError for another."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"the judge's results cannot be read: {error}") from error
    rules: dict[str, str] = {}
    for entry in root.iter(f"{NAMESPACE}rule-result"):
        outcome = entry.findtext(f"{NAMESPACE}result", "")
        if outcome != "notselected":
            rules[entry.get("idref", "").removeprefix(f"{PREFIX}rule_")] = outcome
    if not rules:
        raise ValueError("the judge's results name no rules")
    return rules


def format_table(results: Iterable[ScanResult]) -> str:
    """A line for each profile and host, then the rules that do not pass."""
    lines = [f"{'host':20} {'release':10} {'profile':26} {'passed':>6} {'scored':>6} {'share':>7} {'seconds':>8}"]
    for one in results:
        lines.append(
            f"{one.host:20} {one.release:10} {one.profile:26} {one.passed:6} {one.scored:6} {one.share:7.1%}"
            f" {one.seconds:8.0f}"
        )
    for one in results:
        failing = one.names("fail", "error", "unknown")
        if failing:
            lines += ["", f"{one.host}, {one.profile}: not passed"]
            lines += [f"  {name} ({one.rules[name]})" for name in failing]
    return "\n".join(lines)
