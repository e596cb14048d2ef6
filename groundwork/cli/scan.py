"""``groundwork scan``: what an independent judge, OpenSCAP, says of hosts or of a hardened virtual machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, print_json, print_problems, report_errors
from groundwork.problems import Problem, ProblemError

if TYPE_CHECKING:
    from groundwork.scan.results import ScanResult

DEFAULT_PROFILES = "cis_level1_server,cis_level2_server"


def scan(
    environment: Annotated[str | None, typer.Argument(metavar="[ENV]", help="Name of an inventory.")] = None,
    machine: Annotated[
        str | None, typer.Option(help="Scan a fresh virtual machine of this Debian release instead.")
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="With --machine: harden it by this level first; bare by default.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Profiles of the content, comma-separated.")] = DEFAULT_PROFILES,
    limit: options.Limit = None,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Scan hosts with OpenSCAP and the current content of Debian's package ssg-debian; prints a table.

    The scanner is installed on a host that lacks it, and removed again. Exit code: 0 every scored rule passes, 2 some
    do not, 1 an error.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.scan.results import PROFILES, ScanReport, format_table

        profiles = [name.strip() for name in profile.split(",") if name.strip()]
        unknown = [name for name in profiles if name not in PROFILES]
        if unknown or not profiles:
            allowed = ", ".join(PROFILES)
            raise ProblemError([Problem("no such profile", key="--profile", given=", ".join(unknown), allowed=allowed)])
        if (environment is None) == (machine is None):
            raise ProblemError([Problem("name an environment or a release for a machine", key="ENV, --machine")])
        choose_lab(lab)
        results, problems = (
            _scan_machine(str(machine), level, profiles)
            if environment is None
            else _scan_hosts(environment, profiles, options.split_limit(limit))
        )
        report = ScanReport(results=tuple(results), problems=tuple(problems))
        if as_json:
            print_json(report)
        else:
            print(format_table(report.results))
            print_problems(report.problems)
        exit_with(report.exit_code)


def _say(text: str) -> None:
    print(f"scan: {text}", file=sys.stderr, flush=True)


def _scan_hosts(
    environment: str, profiles: list[str], limit: tuple[str, ...]
) -> tuple[list[ScanResult], list[Problem]]:
    from groundwork.engine.api import name_environment
    from groundwork.engine.asking import ask_hosts, run_command
    from groundwork.engine.selection import select_hosts
    from groundwork.inventory import InventoryHost
    from groundwork.scan.content import ensure_content
    from groundwork.scan.results import VERSIONS
    from groundwork.scan.scanner import scan as judge
    from groundwork.site import load_site

    site = load_site(name_environment(environment))

    def question(host: InventoryHost) -> list[ScanResult]:
        def shell(command: str, given: str = "", timeout: float = 600) -> str:
            return run_command(host, command, given, timeout)

        release = shell(". /etc/os-release && echo $VERSION_CODENAME").strip()
        if release not in VERSIONS:
            problem = Problem("there is no content for the release", key=host.name, given=release)
            raise ProblemError([problem])
        return judge(shell, host.name, release, ensure_content(release, site.root, _say), profiles)

    chosen = [site.inventory.host(name) for name in select_hosts(site, "", limit)]
    found, problems = ask_hosts(chosen, question)
    return [result for results in found.values() for result in results], problems


def _scan_machine(release: str, level: str | None, profiles: list[str]) -> tuple[list[ScanResult], list[Problem]]:
    from groundwork.lab.recipe import check_release
    from groundwork.lab.state import checkout_root
    from groundwork.scan.content import ensure_content
    from groundwork.scan.scanner import scan as judge
    from groundwork.vm.project import VmProject

    check_release(release)
    project = VmProject(release, checkout_root(), _say)
    stream = ensure_content(release, project.root, _say)
    with project:
        if level is not None:
            _say(f"hardening it: {level}")
            result = project.harden(level)
            failed = [Problem(host.reason, key=host.name) for host in result.failed_hosts]
            if failed or result.problems:
                return [], [*result.problems, *failed]
            project.machine.reboot()
        return judge(project.machine.shell, f"vm ({level or 'bare'})", release, stream, profiles), []
