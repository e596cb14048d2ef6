"""``groundwork artifacts``: what comes from vendors, fetched onto the controller and checked there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, report_errors

if TYPE_CHECKING:
    from groundwork.artifacts.needs import ItemResult
    from groundwork.artifacts.store import ArtifactStore
    from groundwork.site import Site

app = typer.Typer(help="Fetch and check what comes from vendors.", no_args_is_help=True)
ERROR, FINDINGS = 1, 2


@app.command("fetch")
def fetch(
    environment: options.Environment,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Fetch keys, signed indexes, packages and archives that are missing; goes on where a fetch broke off.

    Exit code: 0 everything is here and right, 1 something cannot be had or is not what it must be.
    """
    from groundwork.artifacts.needs import fetch_all

    _run(environment, fetch_all, ERROR, as_json=as_json, lab=lab, debug=debug)


@app.command("verify")
def verify(
    environment: options.Environment,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Check what is here against fingerprints, signatures and digests; asks no network.

    Exit code: 0 everything is here and right, 1 an error in a declaration, 2 something is missing or wrong.
    """
    from groundwork.artifacts.needs import verify_all

    _run(environment, verify_all, FINDINGS, as_json=as_json, lab=lab, debug=debug)


def _run(
    environment: str,
    work: Callable[[Site, ArtifactStore], Iterator[ItemResult]],
    code: int,
    *,
    as_json: bool,
    lab: str | None,
    debug: bool,
) -> None:
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.artifacts.store import open_store
        from groundwork.site import load_site

        choose_lab(lab)
        site = load_site(environment)
        store = open_store(site)
        results = list(work(site, store))
        if as_json:
            print_json({"folder": str(store.folder), "items": [asdict(one) for one in results]})
        else:
            _print(results, store)
        exit_with(code if any(one.finding for one in results) else 0)


def _print(results: list[ItemResult], store: ArtifactStore) -> None:
    from rich.table import Table

    if not results:
        print("nothing comes from vendors")
        return
    table = Table("item", "state", "finding", box=None)
    for one in results:
        table.add_row(one.item, one.state, one.finding)
    make_console().print(table)
    print(f"kept in {store.folder}")
