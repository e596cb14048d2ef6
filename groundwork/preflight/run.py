"""Makes the checks: the static ones, then one script on each host."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from groundwork.engine.asking import ask_hosts, run_command
from groundwork.engine.selection import select_hosts
from groundwork.inventory import InventoryHost
from groundwork.preflight import backup
from groundwork.preflight.capacity import check_declared
from groundwork.preflight.contributions import contributions_on, list_contributions
from groundwork.preflight.findings import Finding, PreflightResult, judge
from groundwork.preflight.machine import QUESTIONS, check_machine
from groundwork.preflight.network import check_network, check_ports, list_questions
from groundwork.preflight.questions import Answers, build_script, parse_answers
from groundwork.preflight.static import check_site
from groundwork.problems import ProblemError
from groundwork.site import Site
from groundwork.topology.roles import roles_on


@dataclass(frozen=True)
class Gathered:
    """What one host answered, and our clock (seconds since 1970) before and after."""

    answers: Answers
    before: float
    after: float


def preflight(
    site: Site, *, limit: Sequence[str] = (), live: bool = True, on_host: Callable[[str], None] | None = None
) -> PreflightResult:
    """Check everything that can be checked before a deploy; changes nothing.

    Args:
        site: the environment.
        limit: names of hosts or groups; empty means every host.
        live: False contacts no host.
        on_host: called with each host's name before it is asked.

    Raises:
        ProblemError: the limit names a host or group that does not exist.
    """
    started = time.monotonic()
    chosen = select_hosts(site, "", limit)
    findings = list(check_static(site))
    if live:
        findings += _check_hosts(site, chosen, on_host)
    findings = [one for one in findings if one.host in chosen or one.host not in _names(site)]
    seconds = round(time.monotonic() - started, 3)
    return PreflightResult(environment=site.environment, findings=tuple(findings), live=live, seconds=seconds)


def check_static(site: Site) -> Iterator[Finding]:
    """What needs no host: of the site, then of what each host is declared to be."""
    yield from check_site(site)
    present = {role for host in site.inventory.hosts for role in roles_on(site.topology, host.name)}
    for contribution in list_contributions():
        if contribution.role in present:
            yield from contribution.check_site(site)
    for host in site.inventory.hosts:
        yield from check_declared(site, host.name)
    yield from backup.check_site(site)


def host_script(site: Site, host: str) -> str:
    """The script that asks one host everything."""
    questions = {**QUESTIONS, **list_questions(site, host), **backup.ask(site, host)}
    for contribution in contributions_on(site, host):
        questions |= contribution.ask(site, host)
    return build_script(questions)


def check_host(site: Site, host: str, gathered: Gathered) -> Iterator[Finding]:
    """Judge what one host answered."""
    answers = gathered.answers
    yield from check_machine(site, host, answers, gathered.before, gathered.after)
    yield from check_network(site, host, answers)
    contributions = contributions_on(site, host)
    yield from check_ports(host, answers, (use for one in contributions for use in one.list_ports(site, host)))
    for contribution in contributions:
        yield from contribution.check_host(site, host, answers)
    yield from backup.check_host(site, host, answers)


def gather(site: Site, host: InventoryHost) -> Gathered:
    """Ask one host, over one connection. Raises UnreachableError or ProblemError."""
    script = host_script(site, host.name)
    before = time.time()
    output = run_command(host, "sh -s", script)
    return Gathered(parse_answers(output), before, time.time())


def _check_hosts(site: Site, chosen: Sequence[str], on_host: Callable[[str], None] | None) -> Iterator[Finding]:
    def question(host: InventoryHost) -> Gathered:
        if on_host is not None:
            on_host(host.name)
        return gather(site, host)

    hosts = [host for host in site.inventory.hosts if host.name in chosen]
    found, problems = ask_hosts(hosts, question)
    reasons = {problem.key: problem.message for problem in problems}
    remedy = "see that it runs, and that ssh USER@HOST sudo -n true works with the inventory's address, key and port"
    for host in hosts:
        if host.name not in found:
            yield judge("host.reachable", host.name, False, reasons.get(host.name, "no answer"), remedy)
            continue
        answers = found[host.name]
        evidence = f"{host.address} answered in {answers.after - answers.before:.1f} s"
        yield judge("host.reachable", host.name, True, evidence, "")
        try:
            yield from check_host(site, host.name, answers)
        except ProblemError as error:
            for problem in error.problems:
                yield judge("host.declared", host.name, False, str(problem), "correct the manifest or the inventory")


def _names(site: Site) -> set[str]:
    return {host.name for host in site.inventory.hosts}
