"""Puts a report together: the topology, what lies on the controller, and what Prometheus says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from groundwork.authority.records import Issued, read_issued
from groundwork.problems import ProblemError
from groundwork.report.kept import Kept
from groundwork.report.live import Live
from groundwork.report.overview import Cell, HostFacts, Overview, Section
from groundwork.report.sparkline import draw_sparkline
from groundwork.scheduled.passes import Outcome, PassReport
from groundwork.site import Site
from groundwork.topology.roles import roles_on

SOON, LATE = 10.0, 3.0
"""Days before a certificate's end: renewed by now, and nobody does."""
BACKUPS = ("backup_check", "rehearse")
"""Tasks that tell of backups."""
_FULL = {"processor": (75.0, 90.0), "memory": (80.0, 92.0), "disk": (85.0, 95.0)}
"""Percent from which on a figure is marked, and from which on it is bad (``DiskFilling``, ``DiskAlmostFull``)."""


@dataclass(frozen=True)
class Sources:
    """What a report is made of."""

    kept: Mapping[str, Kept]
    passes: tuple[PassReport, ...]
    live: Live
    cards: str = ""
    """Drawing of the GPUs and who has which part."""
    cards_missing: str = ""


def make_overview(site: Site, sources: Sources, now: datetime) -> Overview:
    """Return the whole report. Contacts nothing."""
    certificates, why = _read_certificates(site)
    sections = (
        _fleet(site, sources, certificates, now),
        _objectives(sources.live),
        _alerts(sources.live, now),
        _certificates(certificates, why, now),
        _hardening(sources.kept.get("hardening"), now),
        _drift(sources.kept.get("drift"), now),
        _verification(sources.kept.get("verify"), now),
        _cards(sources),
        _backups(sources.passes, now),
        _passes(sources.passes, now),
    )
    return Overview(
        site.environment, site.platform.platform, now.astimezone(UTC).isoformat(timespec="seconds"), sections
    )


def _read_certificates(site: Site) -> tuple[list[Issued], str]:
    """The last certificate of each identity that the topology has, and why there are none."""
    try:
        records = read_issued(site.authority.folder)
    except ProblemError as error:
        return [], str(error)
    wanted = {(one.unit, one.host) for one in site.topology.identities}
    last = {(one.unit, one.host): one for one in records if (one.unit, one.host) in wanted}
    why = "" if last else "no certificate was issued yet: groundwork apply issues them"
    return sorted(last.values(), key=lambda one: one.expires), why


def _fleet(site: Site, sources: Sources, certificates: Iterable[Issued], now: datetime) -> Section:
    facts = {host.name: HostFacts(roles_on(site.topology, host.name)) for host in site.inventory.hosts}
    for name, one in facts.items():
        one.up, one.figures = sources.live.up.get(name), sources.live.figures.get(name, {})
    for certificate in certificates:
        known = facts[certificate.host]
        known.expires = min(known.expires or certificate.expires, certificate.expires)
    for kind, count in (("verify", _count_checks), ("hardening", _count_controls), ("drift", _count_drifts)):
        kept = sources.kept.get(kind)
        for name, number in count(kept.document).items() if kept else ():
            if name in facts:
                attribute = {"verify": "failed_checks", "hardening": "failed_controls", "drift": "drifts"}[kind]
                setattr(facts[name], attribute, number)
    columns = ("host", "address", "answers", "processor", "memory", "disk", "checks", "hardening", "drift")
    rows = [
        (
            Cell(host.name, title=", ".join(facts[host.name].roles)),
            Cell(host.address),
            *_host_cells(facts[host.name]),
            _expiry(facts[host.name].expires, now),
        )
        for host in site.inventory.hosts
    ]
    return Section("fleet", "Fleet", (*columns, "first certificate ends"), tuple(rows), note=sources.live.missing)


def _host_cells(facts: HostFacts) -> list[Cell]:
    answers = {None: Cell("no data", "none"), True: Cell("yes", "good"), False: Cell("no", "bad")}
    cells = [answers[facts.up]]
    for name, (warn, bad) in _FULL.items():
        value = facts.figures.get(name)
        cells.append(Cell("no data", "none") if value is None else Cell(f"{value:.0f} %", _judge(value, warn, bad)))
    for count, word in ((facts.failed_checks, "failed"), (facts.failed_controls, "failed"), (facts.drifts, "differ")):
        if count is None:
            cells.append(Cell("no data", "none"))
        else:
            cells.append(Cell(f"{count} {word}" if count else "good", "bad" if count else "good"))
    return cells


def _judge(value: float, warn: float, bad: float) -> str:
    return "bad" if value >= bad else "warn" if value >= warn else "good"


def _count_checks(document: dict[str, Any]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for check in document.get("checks") or ():
        counts[check["host"]] += check["outcome"] == "failed"
    return counts


def _count_controls(document: dict[str, Any]) -> dict[str, int]:
    return {
        host["host"]: sum(one["status"] in ("failed", "expired") for one in host.get("controls") or ())
        for host in document["hosts"]
        if not host.get("error") and host.get("level")
    }


def _count_drifts(document: dict[str, Any]) -> dict[str, int]:
    counts = dict.fromkeys(document.get("hosts") or (), 0)
    for drift in document["drifts"]:
        counts[drift["host"]] = counts.get(drift["host"], 0) + 1
    return counts


def _objectives(live: Live) -> Section:
    name, title = "objectives", "Objectives and budgets"
    if live.missing or not live.budgets:
        return Section(name, title, missing=live.missing or "the platform declares no objectives")
    rows = []
    for one in sorted(live.budgets, key=lambda one: (one.remaining is not None, one.remaining or 0.0)):
        history = live.history.get(one.objective, [])
        drawn = draw_sparkline(history, f"budget of {one.objective} left, last 24 hours", 0.0, 1.0)
        if one.remaining is None:
            left = Cell("not measured", "none")
        else:
            state = "bad" if one.remaining <= 0 else "warn" if one.remaining < 0.25 else "good"
            left = Cell(f"{one.remaining:.1%}", state)
        rate = Cell("no data", "none") if one.burn_rate is None else Cell(f"{one.burn_rate:.2f}")
        firing = Cell(", ".join(one.firing) or "none", "bad" if "page" in one.firing else "warn" if one.firing else "")
        trend = Cell("" if drawn else "no history yet", "" if drawn else "none", svg=drawn)
        rows.append((Cell(one.objective), Cell(f"{one.target:g} %"), left, trend, rate, firing))
    columns = ("objective", "promised", "budget left", "last 24 hours", "burn rate", "alerts")
    return Section(name, title, columns, tuple(rows))


def _alerts(live: Live, now: datetime) -> Section:
    name, title = "alerts", "Alerts"
    if live.missing:
        return Section(name, title, missing=live.missing)
    rows = []
    for one in live.alerts:
        since = _age((now.timestamp() - one.since) / 86400) if one.since else "unknown"
        severity = Cell(one.severity or "-", "bad" if one.severity == "page" else "warn")
        rows.append((Cell(one.name), severity, Cell(since), Cell(one.labels)))
    note = "" if rows else "nothing fires"
    return Section(name, title, ("alert", "severity", "for", "about"), tuple(rows), note=note)


def _certificates(certificates: list[Issued], why: str, now: datetime) -> Section:
    rows = [(Cell(one.unit), Cell(one.host), Cell(one.account), _expiry(one.expires, now)) for one in certificates]
    note = "as the authority issued them; the next to end first"
    columns = ("unit", "host", "account", "ends")
    return Section("certificates", "Certificates", columns, tuple(rows), note=note, missing=why)


def _expiry(expires: str, now: datetime) -> Cell:
    if not expires:
        return Cell("no data", "none")
    left = (datetime.fromisoformat(expires) - now).total_seconds() / 86400
    told = f"in {_age(left)}" if left >= 0 else f"{_age(-left)} ago"
    return Cell(told, "bad" if left < LATE else "warn" if left < SOON else "good", title=expires)


def _age(days: float) -> str:
    if days >= 2:
        return f"{days:.0f} days"
    minutes = days * 1440
    return f"{minutes / 60:.0f} hours" if minutes >= 120 else f"{minutes:.0f} minutes"


def _kept(
    name: str,
    title: str,
    kept: Kept | None,
    now: datetime,
    how: str,
    columns: tuple[str, ...],
    list_rows: Callable[[dict[str, Any]], Iterable[tuple[Cell, ...]]],
) -> Section:
    """A section of a document that a command left behind."""
    if kept is None:
        return Section(name, title, missing=f"no report is there: {how}")
    rows = tuple(list_rows(kept.document))
    note = f"from {kept.source}"
    if kept.time:
        note += f", {_age((now - datetime.fromisoformat(kept.time)).total_seconds() / 86400)} old"
    return Section(name, title, columns, rows, note=note if rows else f"nothing was found; {note}")


def _hardening(kept: Kept | None, now: datetime) -> Section:
    def rows(document: dict[str, Any]) -> Iterable[tuple[Cell, ...]]:
        for host in document["hosts"]:
            if host.get("error"):
                yield Cell(host["host"]), Cell("-"), Cell("not asked", "none"), Cell(host["error"])
            for one in host.get("controls") or ():
                state = {"failed": "bad", "expired": "bad", "waived": "warn"}.get(one["status"])
                if state:
                    told = "; ".join(one.get("evidence") or ())
                    waiver = one.get("waiver")
                    told = f"until {waiver['until']}: {waiver['reason']}" if waiver else told
                    yield (
                        Cell(host["host"]),
                        Cell(one["id"], title=one["title"]),
                        Cell(one["status"], state),
                        Cell(told),
                    )

    how = "a schedule with the task harden_check keeps them, or give harden --check --json with --document"
    return _kept("hardening", "Hardening", kept, now, how, ("host", "control", "status", "evidence"), rows)


def _drift(kept: Kept | None, now: datetime) -> Section:
    def rows(document: dict[str, Any]) -> Iterable[tuple[Cell, ...]]:
        for one in document["drifts"]:
            found = (one["host"], one["category"], one["subject"], one.get("first_seen") or "")
            yield Cell(found[0]), Cell(found[1]), Cell(found[2], "warn"), Cell(found[3]), Cell(", ".join(one["by"]))

    columns = ("host", "what", "subject", "first seen", "by")
    return _kept("drift", "Drift", kept, now, "groundwork drift makes them", columns, rows)


def _verification(kept: Kept | None, now: datetime) -> Section:
    def rows(document: dict[str, Any]) -> Iterable[tuple[Cell, ...]]:
        counts = Counter((one["host"], one["role"], one["outcome"]) for one in document["checks"])
        for host, role in dict.fromkeys((one["host"], one["role"]) for one in document["checks"]):
            failed, passed = counts[host, role, "failed"], counts[host, role, "passed"]
            told = [one["name"] for one in document["checks"] if (one["host"], one["role"]) == (host, role)]
            names = [n for n, one in zip(told, _of(document, host, role), strict=True) if one["outcome"] == "failed"]
            state = "bad" if failed else "good" if passed else "none"
            shown = f"{failed} failed, {passed} passed" if failed else f"{passed} passed" if passed else "skipped"
            yield Cell(host), Cell(role), Cell(shown, state), Cell("; ".join(names))

    how = "a schedule with the task verify keeps them, or give verify --json with --document"
    return _kept("verification", "Verification", kept, now, how, ("host", "role", "checks", "failed"), rows)


def _of(document: dict[str, Any], host: str, role: str) -> list[dict[str, Any]]:
    return [one for one in document["checks"] if (one["host"], one["role"]) == (host, role)]


def _cards(sources: Sources) -> Section:
    note = "as declared; groundwork gpu show asks the hosts"
    return Section("gpu", "GPUs", svg=sources.cards, note=note, missing=sources.cards_missing)


def _backups(passes: Iterable[PassReport], now: datetime) -> Section:
    told = [one for one in passes if one.task in BACKUPS]
    if not told:
        why = "no report of a backup or a rehearsal is there: schedules with backup_check and rehearse keep them"
        return Section("backups", "Backups and rehearsals", missing=why)
    return Section("backups", "Backups and rehearsals", _PASS_COLUMNS, tuple(_pass_row(one, now) for one in told))


def _passes(passes: Iterable[PassReport], now: datetime) -> Section:
    rows = tuple(_pass_row(one, now) for one in passes)
    missing = "" if rows else "no schedule has run yet"
    return Section("schedules", "Scheduled passes", _PASS_COLUMNS, rows, missing=missing)


_PASS_COLUMNS = ("schedule", "task", "ended", "outcome", "findings")


def _pass_row(one: PassReport, now: datetime) -> tuple[Cell, ...]:
    states = {Outcome.SUCCESS: "good", Outcome.FINDINGS: "warn", Outcome.OUTSIDE_WINDOW: "none"}
    ago = _age((now - datetime.fromisoformat(one.finished)).total_seconds() / 86400)
    found = ", ".join(f"{count} {severity}" for severity, count in one.findings.items()) or "none"
    outcome = Cell(str(one.outcome).replace("_", " "), states.get(one.outcome, "bad"), title=one.message)
    return Cell(one.schedule), Cell(one.task), Cell(f"{ago} ago", title=one.finished), outcome, Cell(found)
