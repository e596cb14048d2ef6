"""The checks that roles bring along in ``roles/<role>/preflight.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module

from groundwork.engine.selection import ROLES
from groundwork.preflight.findings import Finding
from groundwork.preflight.network import PortUse
from groundwork.preflight.questions import Answers
from groundwork.site import Site
from groundwork.topology.roles import roles_on


def _nothing(*_: object) -> Iterable[Finding]:
    return ()


def _no_ports(_site: Site, _host: str) -> Iterable[PortUse]:
    return ()


def _no_questions(_site: Site, _host: str) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Contribution:
    """What one role adds; each part may be missing from its module.

    ``check_site(site)`` looks at the controller only. ``ask(site, host)`` names pieces of shell that read and change
    nothing; ``check_host(site, host, answers)`` judges the answers; ``list_ports(site, host)`` says what will listen.
    """

    role: str
    check_site: Callable[[Site], Iterable[Finding]] = _nothing
    ask: Callable[[Site, str], dict[str, str]] = _no_questions
    check_host: Callable[[Site, str, Answers], Iterable[Finding]] = _nothing
    list_ports: Callable[[Site, str], Iterable[PortUse]] = _no_ports


def list_contributions() -> Iterator[Contribution]:
    """Every role's own checks, in the order of their names."""
    for path in sorted(ROLES.glob("*/preflight.py")):
        role = path.parent.name
        module = import_module(f"roles.{role}.preflight")
        parts = ("check_site", "ask", "check_host", "list_ports")
        yield Contribution(role, **{part: getattr(module, part) for part in parts if hasattr(module, part)})


def contributions_on(site: Site, host: str) -> list[Contribution]:
    """The contributions of the roles that one host has."""
    roles = roles_on(site.topology, host)
    return [one for one in list_contributions() if one.role in roles]
