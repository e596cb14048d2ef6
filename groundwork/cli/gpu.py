"""``groundwork gpu plan|show ENV``: who gets which part of which card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, print_json, report_errors

if TYPE_CHECKING:
    from groundwork.inventory import InventoryHost
    from groundwork.site import Site
    from roles.gpu.plan import HostPlan

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
Svg = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Also write the drawing to this file.")]


@app.command()
def plan(
    environment: options.Environment,
    svg: Svg = None,
    limit: options.Limit = None,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Place the declared shares on the declared cards. Contacts no host.

    Exit code: 0 everything has its place, 1 something does not; the reasons are listed.
    """
    with report_errors(as_json=as_json, debug=debug):
        from roles.gpu.cards import declared_cards
        from roles.gpu.plan import plan_host

        site, hosts = _choose(environment, lab, limit)
        plans, problems = [], list[Any]()
        for host in hosts:
            cards = declared_cards(site.platform, host.groups)
            with _collecting(problems):
                plans.append(plan_host(site.platform, site.topology, host.name, cards))
        _finish(site, plans, problems, svg, as_json)


@app.command()
def show(
    environment: options.Environment,
    svg: Svg = None,
    limit: options.Limit = None,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Show the cards that the hosts have, and who has which part of them now. Changes nothing.

    Exit code: 0, or 1 where a host or its driver does not answer.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.cli.gpu_live import read_plan

        site, hosts = _choose(environment, lab, limit)
        plans, problems = [], list[Any]()
        for host in hosts:
            with _collecting(problems):
                plans.append(read_plan(site, host))
        _finish(site, plans, problems, svg, as_json)


@app.command()
def export(
    environment: options.Environment,
    limit: options.Limit = None,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Print the planned layout as a configuration file of nvidia-mig-parted, one configuration a host.

    Exit code: 0, or 1 where a share has no place. Contacts no host.
    """
    with report_errors(debug=debug):
        from collections import Counter

        from roles.gpu.cards import declared_cards
        from roles.gpu.mig_parted import describe_layout, write_configurations
        from roles.gpu.plan import plan_host

        site, hosts = _choose(environment, lab, limit)
        configurations = {}
        for host in hosts:
            planned = plan_host(site.platform, site.topology, host.name, declared_cards(site.platform, host.groups))
            slots = {card.index: {(p.start, p.profile) for p in planned.on(card)} for card in planned.concerned}
            cards = [
                (card, Counter(name for _, name in slots[card.index]) if planned.uses_mig(card) else None)
                for card in planned.concerned
            ]
            configurations[host.name] = describe_layout(cards)
        print(write_configurations(configurations), end="")


@app.command(name="import")
def take_over(
    environment: options.Environment,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A configuration file of nvidia-mig-parted.")],
    label: Annotated[str | None, typer.Option("--label", help="Which of the file's configurations.")] = None,
    limit: options.Limit = None,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Check a file of nvidia-mig-parted against the declared cards, and print its instances as shares for groups.

    Exit code: 0, or 1 with every mistake and every trap of the file. Contacts no host.
    """
    with report_errors(debug=debug):
        from groundwork.problems import Problem, ProblemError
        from roles.gpu.cards import declared_cards
        from roles.gpu.mig_parted import describe_shares, read_configurations, resolve

        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProblemError([Problem(f"cannot be read: {error}", str(file))]) from None
        found = read_configurations(text, str(file))
        if label is None and len(found) == 1:
            label = next(iter(found))
        if label not in found:
            allowed = ", ".join(found)
            raise ProblemError(
                [Problem("no such configuration", str(file), key="--label", given=label or "", allowed=allowed)]
            )
        site, hosts = _choose(environment, lab, limit)
        for host in hosts:
            cards = declared_cards(site.platform, host.groups)
            print(describe_shares(host.name, cards, resolve(found[label], cards, label)), end="")


def _choose(environment: str, lab: str | None, limit: list[str] | None) -> tuple[Site, list[InventoryHost]]:
    """The site, and those of its hosts that have a card or somebody who wants one."""
    choose_lab(lab)
    from groundwork.engine.api import name_environment
    from groundwork.engine.selection import select_hosts
    from groundwork.site import load_site

    site = load_site(name_environment(environment))
    machines = {name for name, machine in site.platform.machines.items() if machine.gpus}
    names = set(select_hosts(site, "", options.split_limit(limit)))
    wanting = {process.host for process in site.topology.processes if process.sharing}
    hosts = [h for h in site.inventory.hosts if h.name in names and (h.name in wanting or h.groups & machines)]
    return site, hosts


class _collecting:  # noqa: N801
    """Notes problems down instead of stopping at the first host that has some."""

    def __init__(self, problems: list[Any]) -> None:
        self.problems = problems

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        from groundwork.problems import ProblemError

        if isinstance(error, ProblemError):
            self.problems += error.problems
            return True
        return False


def _finish(site: Site, plans: list[HostPlan], problems: list[Any], svg: Path | None, as_json: bool) -> None:
    from groundwork.problems import ProblemError
    from roles.gpu.drawing import draw_svg, draw_text

    problems = [site.loaded.source.place(problem) for problem in problems]
    if as_json and not problems:
        print_json({"environment": site.environment, "hosts": [_as_data(plan) for plan in plans]})
    elif not as_json and plans:
        print(draw_text(plans))
    elif not as_json and not problems:
        print(f"{site.environment}: no host has a card or a share of one")
    if svg:
        svg.write_text(draw_svg(plans, f"Cards of {site.environment}"), "utf-8")
    if problems:
        raise ProblemError(problems)


def _as_data(plan: HostPlan) -> dict[str, Any]:
    return {
        "host": plan.host,
        "cards": [
            {
                "index": card.index,
                "name": card.name,
                "uuid": card.uuid,
                "placements": [
                    {
                        "unit": p.unit,
                        "group": p.group,
                        "sharing": p.sharing,
                        "profile": p.profile,
                        "start": p.start,
                        "size": p.size,
                        "thread_percentage": p.thread_percentage,
                        "memory_mib": p.memory_mib,
                        "reason": p.reason,
                    }
                    for p in plan.on(card)
                ],
            }
            for card in plan.cards
        ],
    }
