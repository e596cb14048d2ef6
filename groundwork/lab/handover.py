"""What follows once a lab's hosts are up: the platform is applied to them and verified, like on any server."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from groundwork.lab.errors import lab_error
from groundwork.lab.phases import Phases
from groundwork.lab.state import LabSpec, checkout_root
from groundwork.problems import ProblemError

if TYPE_CHECKING:
    from groundwork.engine.checks import Check
    from groundwork.engine.events import Event
    from groundwork.site import Site

ENVIRONMENT = "lab"


@dataclass
class SiteOutcome:
    """What applying and verifying gave, in the figures the final table shows."""

    changed: dict[str, int] = field(default_factory=dict)
    """Operations that changed something, by host."""
    passed: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    """One line for each thing that went wrong; empty means all is well."""
    urls: list[str] = field(default_factory=list)
    """Addresses to open in a browser."""


def apply_lab(spec: LabSpec, phases: Phases, on_event: Callable[[Event], None] | None = None) -> SiteOutcome:
    """Make the lab's secrets and apply ``deploys/site.py`` to its hosts; a host's failure is in the outcome.

    ``on_event`` gets the engine's events. Raises ProblemError for a wrong manifest, before a host is contacted.
    """
    from groundwork.engine.api import apply
    from groundwork.site import load_site

    root = _select_lab(spec)
    with phases.phase("secrets"):
        site = load_site(ENVIRONMENT, root)
        ensure_secrets(site, phases)
    outcome = SiteOutcome(urls=list_urls(site))
    with phases.phase("apply"):
        result = apply(ENVIRONMENT, root=root, on_event=on_event)
    outcome.changed = {host.name: host.changed for host in result.hosts}
    outcome.problems += [str(problem) for problem in result.problems]
    outcome.problems += [f"{host.name}: {host.stage}: {host.reason}" for host in result.failed_hosts]
    if result.retry:
        outcome.problems.append(f"retry: ./gw apply lab {result.retry}")
    return outcome


def verify_lab(
    spec: LabSpec, phases: Phases, outcome: SiteOutcome, on_check: Callable[[Check], None] | None = None
) -> None:
    """Verify the lab and add what was found to ``outcome``; ``on_check`` gets each check as it ends."""
    from groundwork.engine.checks import Outcome
    from groundwork.engine.verification import verify

    root = _select_lab(spec)
    with phases.phase("verify"):
        result = verify(ENVIRONMENT, root=root, on_check=on_check)
    outcome.passed, outcome.failed = result.count(Outcome.PASSED), result.count(Outcome.FAILED)
    outcome.problems += [str(problem) for problem in result.problems]
    for check in result.failures:
        reason = check.reason.partition("\n")[0]
        outcome.problems.append(f"{check.host}: {check.role}: {check.name} failed: {reason}")


def list_urls(site: Site) -> list[str]:
    """Return the addresses that the lab's reverse proxies answer on, one for each exposure and host."""
    urls = []
    for exposure in site.platform.exposure.values():
        port = "" if exposure.port == 443 else f":{exposure.port}"
        hosts = site.inventory.group(exposure.hosts)
        urls += [f"https://{host.address}{port}/" for host in hosts]
    return urls


def _select_lab(spec: LabSpec) -> Path:
    """Let environment ``lab`` mean this lab, here and in the processes started from here."""
    os.environ["GROUNDWORK_LAB"] = spec.name
    return checkout_root()


def ensure_secrets(site: Site, phases: Phases) -> None:
    """Generate what is missing. What only a user can provide gets a random value: a lab calls no paid service."""
    from groundwork.secrets.declaration import SecretDeclaration, name_declarations
    from groundwork.secrets.generation import generate_value

    declared = {one.name: one for one in name_declarations(site.topology.secret_declarations)}
    site.secrets.initialise()
    site.authority.initialise()
    ensured = site.secrets.ensure(declared.values())
    weak = [one for one in ensured.problems if one.key.removeprefix("secrets.") not in ensured.absent]
    if weak:
        raise ProblemError(weak)
    for name in ensured.absent:
        stand_in = SecretDeclaration(name, "token", minimum_length=declared[name].shortest)
        site.secrets.write(name, generate_value(stand_in))
        phases.note(f"{name} has a random stand-in; `./gw secrets set lab {name}` gives it a real value")
    missing = set(declared) - set(site.secrets.names())
    if missing:
        raise lab_error("secrets without a value", given=", ".join(sorted(missing)))
