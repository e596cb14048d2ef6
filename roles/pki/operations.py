"""Operations of ``pki``: place what hosts trust, and give every identity a key and a certificate."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pyinfra import host, logger, state
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import OperationError

from groundwork.authority import paths
from groundwork.authority.installed import check_clock, why_mend, why_renew
from groundwork.authority.store import AuthorityStore
from groundwork.operations.placement import Placement, ScriptInput
from groundwork.operations.validated_files import judge_file, place_content
from groundwork.problems import ProblemError
from groundwork.topology.accounts import SystemUser
from groundwork.topology.model import Identity
from roles.pki import plan
from roles.pki.facts import Certificates, PresentUsers, Requests

Commands = Generator[PyinfraCommand, None, None]
Result = TypeVar("Result")


@operation()
def users(users: Sequence[SystemUser]) -> Commands:
    """
    Create the system users that are missing, each with a group of its own; those that are there stay as they are.

    + users: who owns keys on this host

    One question for all of them: a host may have dozens of agent groups.
    """
    present = host.get_fact(PresentUsers, names=[user.name for user in users]) if users else set()
    missing = [user for user in users if user.name not in present]
    if not missing:
        host.noop("every user is there")
    for user in missing:
        # Where only the group is left of an account, it is used again.
        group = QuoteString(user.name)
        yield StringCommand(
            "{ getent group", group, ">/dev/null || groupadd --system --", group, "; } &&",
            "useradd --system --no-create-home --gid", group, "--home-dir", QuoteString(user.home),
            "--shell", QuoteString(user.shell), "--", QuoteString(user.name),
        )  # fmt: skip


@operation()
def trust(authority: AuthorityStore, platform: str) -> Commands:
    """
    Place the trusted roots and the revocation lists.

    + authority: the environment's authority
    + platform: the platform's name

    Both are read at the run: a list that is past half its life is signed anew, which a plan does not do.
    """
    bundle = _say(authority.bundle)
    lists = _say(lambda: authority.revocation_lists(refresh=state.is_executing))
    contents = {paths.bundle(platform): bundle, paths.revocation_list(platform): lists}
    pending: list[tuple[Placement, bytes, str]] = []
    for path, content in contents.items():
        placement = Placement(path, "root", "root", 0o444)
        if reason := judge_file(placement, content):
            pending.append((placement, content, reason))
    if not pending:
        host.noop("the trusted roots and the revocation lists are in place")
    for placement, content, reason in pending:
        if state.config.DIFF:
            host.log(f"Will write {placement.dest} ({reason})", logger.info)
        yield from place_content(placement, content, reason)


@operation()
def certificates(authority: AuthorityStore, platform: str, identities: Sequence[Identity]) -> Commands:
    """
    Give each identity of the host a key made there and a certificate; leave alone what still serves.

    + authority: the environment's authority; its intermediate signs
    + platform: the platform's name
    + identities: all of this host's

    The host makes keys and requests, the requests are read and checked against the identities, and only then
    the authority's key is used. Keys never leave the host. A plan signs nothing.
    """
    if not identities:
        host.noop("the host has no identities")
        return
    found = host.get_fact(Certificates, platform=platform, units=[one.unit for one in identities])
    now = datetime.now(UTC)
    if found.clock is not None:
        clock = found.clock
        _say(lambda: check_clock(host.name, clock, now))
    issuer = _say(lambda: authority.intermediates()[authority.state.issuer])
    mark = _say(lambda: authority.state.reissue_before)
    before = datetime.fromisoformat(mark) if mark else None
    due: dict[str, str] = {}
    for one in identities:
        installed = found.units.get(one.unit)
        due[one.unit] = why_renew(installed, one, issuer, now, before) if installed else "absent"
    renewed = [one for one in identities if due[one.unit]]
    mended = [one for one in identities if not due[one.unit] and why_mend(found.units[one.unit], one)]
    if state.config.DIFF:
        for one in renewed:
            host.log(f"Will issue a certificate for {one.unit} ({due[one.unit]})", logger.info)
    if mended:
        yield _run(plan.build_mending(platform, mended), "mend", mended)
    if renewed:
        yield _run(plan.build_requests(platform, renewed), "request", renewed)
        if state.is_executing:
            yield _run(_sign(authority, platform, renewed), "install", renewed)
    elif not mended:
        host.noop("every certificate is in place")


def _sign(authority: AuthorityStore, platform: str, identities: Sequence[Identity]) -> str:
    """Read the waiting requests, sign them, and return the script that installs the certificates."""
    requests = host.get_fact(Requests, platform=platform, units=[one.unit for one in identities])
    if absent := [one.unit for one in identities if one.unit not in requests]:
        raise OperationError(f"{host.name} made no request for {', '.join(absent)}")
    pairs = [(one, requests[one.unit].encode()) for one in identities]
    return plan.build_installation(platform, _say(lambda: authority.sign(pairs)))


def _run(script: str, verb: str, identities: Sequence[Identity]) -> PyinfraCommand:
    """A script over standard input; the no-op in front says in plans and logs what it is about."""
    units = " ".join(one.unit for one in identities)
    return StringCommand(f": {verb} {units}; base64 -d | sh", _stdin=ScriptInput(script.encode()))  # type: ignore[arg-type]


def _say(action: Callable[[], Result]) -> Result:
    """Turn what the authority refuses into the operation's own error."""
    try:
        return action()
    except ProblemError as error:
        raise OperationError(str(error)) from None
