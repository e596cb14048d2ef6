"""The report of an environment: what it shows, what it says of what has no data, and that it stands alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from groundwork.cli.main import main
from groundwork.objectives.budget import Budget
from groundwork.problems import ProblemError
from groundwork.report import live as asking
from groundwork.report.gathering import Sources, make_overview
from groundwork.report.kept import Kept, find_kept
from groundwork.report.live import Alert, Live, ask_live
from groundwork.report.overview import Overview
from groundwork.report.page import render_page
from groundwork.report.sparkline import draw_sparkline
from groundwork.scheduled.passes import Outcome, PassReport
from groundwork.site import Site, load_site

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"
SECTIONS = [
    "fleet", "objectives", "alerts", "certificates", "hardening", "drift", "verification", "gpu", "backups",
    "schedules",
]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return replace(load_site("example", ROOT), secrets_folder=tmp_path / "secrets", state_folder=tmp_path / "state")


def write_issued(site: Site, *lives: tuple[str, str, float]) -> None:
    """Records of certificates that end so many days from now."""
    folder = site.authority.folder
    folder.mkdir(parents=True)
    records = [
        {
            "serial": f"{number:02X}", "unit": unit, "host": host, "account": unit, "generation": "1",
            "issued": NOW.isoformat(), "expires": (NOW + timedelta(days=days)).isoformat(),
        }
        for number, (unit, host, days) in enumerate(lives)
    ]  # fmt: skip
    (folder / "issued.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))


def make_sources(site: Site) -> Sources:
    host = site.inventory.hosts[0].name
    check = {"host": host, "role": "redis", "seconds": 1, "reason": ""}
    checks = [{**check, "name": HOSTILE, "outcome": "failed"}, {**check, "name": "b", "outcome": "passed"}]
    control = {"id": "ssh-root", "title": "No root", "group": "ssh", "level": "baseline", "references": []}
    waiver = {"reason": "old host", "until": "2027-01-01"}
    controls = [
        {**control, "status": "failed", "evidence": [HOSTILE], "waiver": None},
        {**control, "id": "log-rotation", "status": "waived", "evidence": [], "waiver": waiver},
        {**control, "id": "quiet", "status": "passed", "evidence": [], "waiver": None},
    ]
    drift = {"host": host, "category": "file", "subject": HOSTILE, "first_seen": "2026-11-24T00:00", "by": ["anna"]}
    before = (NOW - timedelta(hours=5)).isoformat()
    kept = {
        "verify": Kept({"environment": "example", "checks": checks}, before, "schedule nightly"),
        "hardening": Kept({"hosts": [{"host": host, "level": "strict", "controls": controls}]}, before, "a file"),
        "drift": Kept({"drifts": [drift], "hosts": [host]}, before, "groundwork drift"),
    }
    ran = PassReport(
        environment="example", schedule="safety", task="backup_check", started=before, finished=before, seconds=3,
        outcome=Outcome.FINDINGS, exit_code=2, findings={"error": 1},
    )  # fmt: skip
    live = Live(
        up={host: True},
        figures={host: {"processor": 12.0, "memory": 85.0, "disk": 97.0}},
        alerts=[Alert("DiskAlmostFull", "page", f"host={HOSTILE}", (NOW - timedelta(hours=3)).timestamp())],
        budgets=[Budget("api-latency", 99.5, 0.42, 0.5, ()), Budget("api-errors", 99.9, None, None, ("page",))],
        history={"api-latency": [1.0, 0.8, 0.42]},
    )
    return Sources(kept, (ran,), live, '<svg xmlns="http://www.w3.org/2000/svg"><title>cards</title></svg>')


class Page(HTMLParser):
    """A page taken apart: text by section, tables, what is open at the end, and everything that would be fetched."""

    VOID = frozenset({"meta", "br", "path", "rect", "line"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.section = ""
        self.text: dict[str, str] = {}
        self.cells: dict[str, list[str]] = {}
        self.states: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.identifiers: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.identifiers += [values["id"]] if "id" in values else []
        self.fetched += [values[key] for key in ("src", "srcset", "data", "action", "background") if key in values]
        self.links += [values["href"]] if "href" in values else []
        self.fetched += [key for key in values if key.startswith("on")]
        if tag == "section":
            self.section = values["id"]
        if tag == "td":
            self.cells.setdefault(self.section, []).append("")
            self.states.append(values.get("class", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        self.text[self.section] = self.text.get(self.section, "") + data
        if "td" in self.open:
            self.cells[self.section][-1] += data


@pytest.fixture
def page(site: Site) -> Page:
    host = site.inventory.hosts[0].name
    units = [one.unit for one in site.topology.identities if one.host == host]
    write_issued(site, (units[0], host, -1), (units[0], host, 20), (units[1], host, 2), ("gone", host, 1))
    return Page(render_page(make_overview(site, make_sources(site), NOW)))


def test_it_is_whole_and_needs_nothing_else(page: Page) -> None:
    assert page.open == []
    assert page.fetched == []
    assert [section for section in page.text if section] == SECTIONS
    assert page.links == [f"#{name}" for name in SECTIONS]
    assert set(SECTIONS) <= set(page.identifiers)
    assert len(set(page.identifiers)) == len(page.identifiers)
    for tag in ("script", "link", "iframe", "object", "img", "form", "base"):
        assert tag not in page.tags


def test_what_hosts_say_is_text_and_nothing_else(page: Page) -> None:
    for section in ("alerts", "hardening", "drift", "verification"):
        assert HOSTILE in page.text[section], section


def test_each_section_shows_its_data(page: Page, site: Site) -> None:
    host = site.inventory.hosts[0].name
    fleet = page.cells["fleet"]
    columns = 10
    assert fleet[0] == host
    assert fleet[2:columns] == ["yes", "12 %", "85 %", "97 %", "1 failed", "1 failed", "1 differ", "in 2 days"]
    assert len(fleet) == columns * len(site.inventory.hosts)
    # What is not measured comes first, then what has the least left.
    assert page.cells["objectives"][0] == "api-errors"
    assert "not measured" in page.cells["objectives"]
    assert "42.0%" in page.cells["objectives"]
    assert page.cells["alerts"][:3] == ["DiskAlmostFull", "page", "3 hours"]
    # The last certificate of each identity that is still declared; the next to end first.
    assert [cell for cell in page.cells["certificates"] if "days" in cell] == ["in 2 days", "in 20 days"]
    assert page.cells["hardening"][1:3] == ["ssh-root", "failed"]
    assert "until 2027-01-01: old host" in page.cells["hardening"]
    assert "quiet" not in page.cells["hardening"]
    assert "5 hours old" in page.text["hardening"]
    assert page.cells["verification"][2] == "1 failed, 1 passed"
    assert page.cells["backups"][:2] == ["safety", "backup_check"]
    assert page.tags.count("svg") == 2


def test_what_has_no_data_says_so_and_why(site: Site) -> None:
    live = Live(missing="Prometheus did not answer: no route to host")
    overview = make_overview(site, Sources({}, (), live, cards_missing="no host has a card"), NOW)
    assert set(overview.missing) == set(SECTIONS) - {"fleet"}
    page = Page(render_page(overview))
    for section in overview.missing:
        assert "No data: " in page.text[section]
    assert "no route to host" in page.text["alerts"]
    assert set(page.cells["fleet"][2:10]) == {"no data"}
    assert "good" not in page.states


def test_nothing_found_is_not_no_data(site: Site) -> None:
    kept = {
        "hardening": Kept({"hosts": []}, NOW.isoformat(), "a file"),
        "drift": Kept({"drifts": [], "hosts": [site.inventory.hosts[0].name]}, NOW.isoformat(), "groundwork drift"),
    }
    page = Page(render_page(make_overview(site, Sources(kept, (), Live(), cards_missing="none"), NOW)))
    for section in ("hardening", "drift"):
        assert "nothing was found" in page.text[section]
    assert "nothing fires" in page.text["alerts"]
    assert page.cells["fleet"][8] == "good"


def test_documents_are_known_by_what_they_are(site: Site, tmp_path: Path) -> None:
    checks, wrong, other, broken = (tmp_path / name for name in ("checks", "wrong", "other", "broken"))
    checks.write_text(json.dumps({"environment": "example", "checks": []}))
    wrong.write_text('{"lines": []}')
    other.write_text('{"environment": "lab", "drifts": []}')
    broken.write_text("{")
    assert list(find_kept(site, [checks])) == ["verify"]
    with pytest.raises(ProblemError) as refused:
        find_kept(site, [wrong, other, broken, tmp_path / "none"])
    assert [problem.file for problem in refused.value.problems] == [
        str(path) for path in (wrong, other, broken, tmp_path / "none")
    ]


def test_prometheus_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    platform = load_site("example", ROOT)
    asked: list[set[str]] = []

    def answer(_site: Site, queries: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
        asked.append(set(queries))
        alert = {"__name__": "ALERTS", "alertname": "HostDown", "severity": "page", "alertstate": "firing", "host": "a"}
        began = {"__name__": "ALERTS_FOR_STATE", "alertname": "HostDown", "severity": "page", "host": "a"}
        told: dict[str, list[dict[str, Any]]] = {
            "up": [{"metric": {"host": "a"}, "value": [0, "1"]}, {"metric": {"host": "b"}, "value": [0, "0"]}],
            "disk": [{"metric": {"host": "a"}, "value": [0, "NaN"]}],
            "alerts": [{"metric": alert, "value": [0, "1"]}],
            "since": [{"metric": began, "value": [0, "1700000000"]}],
            "history": [{"metric": {"sloth_slo": "x"}, "values": [[0, "1"], [1, "NaN"]]}],
        }
        return {name: told.get(name, []) for name in queries}

    monkeypatch.setattr(asking, "query_prometheus", answer)
    assert ask_live(platform).missing.startswith("the platform declares no Prometheus")
    watched = platform.platform.model_copy(
        update={"observability": platform.platform.observability.model_copy(update={"prometheus": object()})}
    )
    monkeypatch.setattr(asking, "derive_objectives", lambda _platform: [])
    monkeypatch.setattr(asking, "make_spec", lambda *_: None)
    monkeypatch.setattr(asking, "read_given", lambda *_: [])
    loaded = replace(platform, loaded=replace(platform.loaded, platform=watched))
    live = ask_live(loaded)
    assert len(asked) == 1
    assert (live.up, live.figures) == ({"a": True, "b": False}, {})
    assert live.alerts == [Alert("HostDown", "page", "host=a", 1_700_000_000.0)]
    assert live.history["x"][0] == 1


def test_the_command_writes_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.html"
    assert main(["report", "example", "--offline", "--to", str(target)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{target}\n"
    assert "no data for alerts: hosts were not asked (--offline)" in told.err
    assert target.stat().st_mode & 0o777 == 0o600
    assert Page(target.read_text()).open == []
    assert main(["report", "example", "--offline", "--document", str(target), "--to", str(target)]) == 1


@pytest.mark.parametrize("values", [[], [1.0], [float("nan"), 1.0]])
def test_a_line_takes_two_points(values: list[float]) -> None:
    assert draw_sparkline(values, "t") == ""


def test_a_line_stays_within_its_drawing() -> None:
    drawn = draw_sparkline([5.0, -3.0, float("nan"), 2.0, 2.0], "a & b", 0.0, 1.0)
    points = [tuple(map(float, pair)) for pair in re.findall(r"[ML]([0-9.-]+) ([0-9.-]+)", drawn)]
    assert len(points) == 4
    assert all(0 <= x <= 120 and 0 <= y <= 24 for x, y in points)
    assert drawn.count("M") == 2
    assert "a &amp; b" in drawn
    assert "L" in draw_sparkline([1.0, 1.0], "t")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_it_without_a_complaint(site: Site, tmp_path: Path) -> None:
    host = site.inventory.hosts[0].name
    write_issued(site, (next(one.unit for one in site.topology.identities if one.host == host), host, 2))
    overview: Overview = make_overview(site, make_sources(site), NOW)
    target = tmp_path / "report.html"
    target.write_text(render_page(overview))
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--window-size=1400,2600",
    ]  # fmt: skip
    dumped = subprocess.run(
        [*command, "--dump-dom", target.as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    shown = Page(dumped.stdout)
    assert [section for section in shown.text if section] == SECTIONS
    assert HOSTILE in shown.text["drift"]
    # What the page's policy refuses, and every script's error, is told to the console.
    assert "CONSOLE" not in dumped.stderr
    picture = tmp_path / "report.png"
    subprocess.run([*command, f"--screenshot={picture}", target.as_uri()], capture_output=True, timeout=180, check=True)
    assert picture.stat().st_size > 20_000
