"""``groundwork certs``: how an environment's certificates are, and their renewal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from groundwork.cli import options
from groundwork.cli.output import choose_lab, exit_with, make_console, print_json, print_problems, report_errors

if TYPE_CHECKING:
    from groundwork.authority.serving import Handshake
    from groundwork.authority.status import CertificateRow
    from groundwork.engine.certificates import SiteHands

app = typer.Typer(help="Show, renew and revoke the certificates of an environment.", no_args_is_help=True)
FINDINGS = 2


@app.command("status")
def show_status(
    environment: options.Environment,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """List every certificate: whose, until when, by which authority.

    Exit code: 0 all serve, 1 an error (a host cannot be asked, its clock is off), 2 something is due.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.authority.rotation import STAGES, read_rotation
        from groundwork.authority.status import list_rows

        hands = _reach(environment, lab)
        authority, now = hands.site.authority, datetime.now(UTC)
        authority.check()
        found, problems = hands.read_installed()
        rows = list_rows(hands.site.topology.identities, found, authority.intermediates(), authority.state, now)
        rotation = read_rotation(authority.folder)
        end = authority.issuer().certificate.not_valid_after_utc
        if as_json:
            document = {
                "certificates": [asdict(row) for row in rows],
                "rotation": asdict(rotation) if rotation else None,
            }
            authority_row = {"issuer": authority.state.issuer, "expires": end.isoformat()}
            print_json(document | {"authority": authority_row, "problems": [one.as_dict() for one in problems]})
        else:
            _print_rows(rows)
            print(f"authority {authority.state.issuer}: its intermediate ends on {end:%Y-%m-%d}")
            if rotation:
                told = f"the authority is being rotated: next is {rotation.stage} ({STAGES[rotation.stage]})"
                print(f"{told}; go on with: groundwork certs rotate {environment} --authority")
            print_problems(problems)
        if problems:
            exit_with(1)
        exit_with(FINDINGS if rotation or any(row.due for row in rows) or _is_ending(hands, now) else 0)


@app.command("rotate")
def rotate(
    environment: options.Environment,
    authority: Annotated[bool, typer.Option("--authority", help="Replace root and intermediate too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Renew every certificate, whatever its age.")] = False,
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Renew what has passed two thirds of its life, reload the services, and check what they serve.

    Exit code: 0 everything serves what is installed, 1 an error, 2 an endpoint serves something else.
    """
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.authority.rotation import rotate_authority

        with _progress(as_json) as on_event:
            hands = _reach(environment, lab, on_event)
            store = hands.site.authority
            store.check()
            if authority:
                rotate_authority(store, hands, _say)
            else:
                if force:
                    mark = datetime.now(UTC) + timedelta(seconds=1)
                    store.set_state(replace(store.state, reissue_before=mark.isoformat(timespec="seconds")))
                hands.converge()
            compared = hands.compare_served()
        if as_json:
            print_json({"endpoints": [_describe(handshake, why) for handshake, why in compared]})
        else:
            _print_served(compared)
        exit_with(FINDINGS if any(why for _, why in compared) else 0)


@app.command("revoke")
def revoke(
    environment: options.Environment,
    serials: Annotated[list[str], typer.Argument(metavar="SERIAL...", help="Serial numbers, as status shows them.")],
    as_json: options.Json = False,
    lab: options.Lab = None,
    debug: options.Debug = False,
) -> None:
    """Put certificates on the revocation list; the next apply or rotation brings it to the hosts."""
    with report_errors(as_json=as_json, debug=debug):
        from groundwork.site import load_site

        choose_lab(lab)
        revoked = load_site(environment).authority.revoke(serials)
        if as_json:
            print_json({"revoked": [asdict(one) for one in revoked]})
        for one in [] if as_json else revoked:
            print(f"revoked {one.serial} of {one.unit} on {one.host}")
            print(f"groundwork certs rotate {environment} brings the list to the hosts")


def _reach(environment: str, lab: str | None, on_event: Any = None) -> SiteHands:
    from groundwork.engine.certificates import SiteHands
    from groundwork.site import load_site

    choose_lab(lab)
    return SiteHands(load_site(environment), on_event)


@contextmanager
def _progress(as_json: bool) -> Iterator[Any]:
    from groundwork.cli.progress import show_progress

    with show_progress(plain=as_json) as on_event:
        yield on_event


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _is_ending(hands: SiteHands, now: datetime) -> bool:
    from groundwork.authority.installed import RENEW_AFTER, share_of_life

    return share_of_life(hands.site.authority.issuer().certificate, now) >= RENEW_AFTER


def _print_rows(rows: list[CertificateRow]) -> None:
    from rich.table import Table

    table = Table("unit", "host", "serial", "issued", "expires", "life used", "authority", "due", box=None)
    for row in rows:
        used = f"{row.life_used:.0%}" if row.serial else ""
        issued, expires = (time[:16].replace("T", " ") for time in (row.issued, row.expires))
        table.add_row(row.unit, row.host, row.serial, issued, expires, used, row.chain, row.due)
    make_console().print(table)


def _describe(handshake: Handshake, why: str) -> dict[str, Any]:
    return {**asdict(handshake.endpoint), "serial": handshake.serial, "finding": why}


def _print_served(compared: list[tuple[Handshake, str]]) -> None:
    from rich.table import Table

    table = Table("unit", "host", "address", "serves", "finding", box=None)
    for handshake, why in compared:
        endpoint = handshake.endpoint
        address = f"{endpoint.address}:{endpoint.port}"
        table.add_row(endpoint.unit, endpoint.host, address, handshake.serial, why or "as installed")
    make_console().print(table)
