"""Waivers of hardening controls in the inventory's data: each has a reason, and a last day that is not over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime

from groundwork.preflight.findings import SITE, Finding, Severity, judge
from groundwork.site import Site

DATUM = "hardening_waivers"
SOON = 14
"""Days before a waiver's end in which somebody should decide about it."""


def check_waivers(site: Site) -> Iterator[Finding]:
    """One check for each host with waivers, and one of the site where there are none."""
    found = [finding for host in site.inventory.hosts for finding in _check(host.name, host.data.get(DATUM) or {})]
    yield from found or [judge("waivers.valid", SITE, True, "no control is waived", "")]


def _check(host: str, waivers: Mapping[str, Mapping[str, object]]) -> Iterator[Finding]:
    today = datetime.now(UTC).date()
    if not isinstance(waivers, Mapping):
        yield judge("waivers.valid", host, False, f"{DATUM} is no mapping", "name: {reason: ..., until: 2027-03-31}")
        return
    for name, waiver in waivers.items():
        given = waiver if isinstance(waiver, Mapping) else {}
        reason, until = str(given.get("reason") or "").strip(), _read_date(given.get("until"))
        if not reason or until is None:
            remedy = f"{DATUM}: {{{name}: {{reason: why, until: 2027-03-31}}}}"
            missing = "reason" if not reason else "a last day (until)"
            yield judge("waivers.valid", host, False, f"the waiver of {name} lacks {missing}", remedy)
            continue
        left = (until - today).days
        evidence = f"{name} is waived until {until}: {reason}"
        remedy = "enforce the control, or decide on a new last day"
        severity = Severity.ERROR if left < 0 else Severity.WARNING
        yield judge("waivers.valid", host, left >= SOON, evidence, remedy, severity)


def _read_date(value: object) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None
