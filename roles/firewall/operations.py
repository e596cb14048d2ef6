"""Operations on our table in the kernel: what is live decides, not what was done before."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from pyinfra import host, logger, state
from pyinfra.api import FunctionCommand, QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from groundwork.operations.confirmation import confirm_anew, connector_arguments
from groundwork.operations.placement import ScriptInput
from groundwork.operations.rendering import render_template
from roles.firewall.facts import STATE, LiveTable
from roles.firewall.listing import list_differences, list_missing, parse_table

TRIAL_SECONDS = 60
MOST_DIFFERENCES = 200
_LOAD = "base64 -d | /usr/sbin/nft -f -"
# Sets of single addresses, where an element that is added cannot clash with one that is there.
EARLY_SETS = ("peers_", "out_peers_")


def _load(text: str) -> StringCommand:
    return StringCommand(_LOAD, _stdin=ScriptInput(text.encode()))  # type: ignore[arg-type]


@operation()
def openings(elements: Mapping[str, Sequence[str]]) -> Generator[PyinfraCommand, None, None]:
    """
    Add to the live table what it lacks for the hosts' flows, and close nothing.

    + elements: elements by set, as they will be in the end

    Where there is no table yet, one that refuses nothing lets the kernel track connections from now on.
    """
    live = parse_table(host.get_fact(LiveTable).text)
    if live.is_empty:
        yield _load(render_template("firewall/tracking.nft.j2"))
        return
    missing = list_missing(live, {name: tuple(items) for name, items in elements.items()}, EARLY_SETS)
    if not missing:
        host.noop("what the flows need is open")
        return
    lines = [f"add element inet groundwork {name} {{ {', '.join(items)} }}\n" for name, items in missing.items()]
    if state.config.DIFF:
        for name, items in missing.items():
            host.log(f"Will open {name}: {', '.join(items)}", logger.info)
    yield _load("".join(lines))


@operation()
def table(content: str, switch: str, trial_seconds: int = TRIAL_SECONDS) -> Generator[PyinfraCommand, None, None]:
    """
    Make the live table what a file says, on trial: confirmed over a new connection, else reverted by the host itself.

    + content: the file for nftables, which replaces the table ``inet groundwork`` as a whole
    + switch: path of the script ``firewall-switch`` on the host
    + trial_seconds: time after which rules that nobody confirmed are reverted
    """
    listing = host.get_fact(LiveTable)
    live, wanted = parse_table(listing.text), parse_table(content)
    if live == wanted and not listing.on_trial:
        host.noop("the rules in the kernel are the declared ones")
        return
    if state.config.DIFF:
        host.log("Will replace the table inet groundwork", logger.info)
        for line in list_differences(live, wanted)[:MOST_DIFFERENCES]:
            logger.info("  %s", line)
    script = ScriptInput(content.encode())
    yield StringCommand(QuoteString(switch), "try", str(trial_seconds), _stdin=script)  # type: ignore[arg-type]
    yield FunctionCommand(confirm_anew, (switch, connector_arguments(host)), {})


@operation()
def no_table() -> Generator[PyinfraCommand, None, None]:
    """Remove our table from the kernel, and a trial that is under way."""
    listing = host.get_fact(LiveTable)
    if not listing.text and not listing.on_trial:
        host.noop("there is no table of ours")
        return
    yield StringCommand("systemctl stop groundwork-firewall-revert.timer 2>/dev/null || true")
    yield StringCommand("rm -rf --", STATE)
    yield _load("table inet groundwork\ndelete table inet groundwork\n")
