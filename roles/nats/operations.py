"""Operations of ``nats``: configuration that the server is known to have read, and the streams of JetStream."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra import host, logger, state
from pyinfra.api import QuoteString, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.operation import OperationMeta

from groundwork.facts.placed_files import ChangeTimes
from roles.nats.facts import LoadTime, StreamDifferences


def _will_change(after: Sequence[OperationMeta]) -> bool:
    """Whether the plan already changes an input; in the run itself the host decides."""
    return not state.is_executing and any(meta._maybe_is_change for meta in after)


@operation()
def loaded_configuration(
    unit: str, helper: str, port: int, paths: Sequence[str], after: Sequence[OperationMeta] = ()
) -> Generator[PyinfraCommand, None, None]:
    """
    Have a running server read its files again when one is newer than what it says it has read.

    + unit: its unit
    + helper: path of ``nats-admin``
    + port: its monitoring port
    + paths: files and links that it can read again while it runs
    + after: results of the operations that write them, so that a plan shows the reload

    NATS refuses a reload as a whole; it is restarted then.
    """
    times = host.get_fact(ChangeTimes, paths=list(paths))
    loaded = host.get_fact(LoadTime, helper=helper, port=port)
    if not _will_change(after) and loaded > max(times.values(), default=0.0):
        host.noop(f"{unit} has read its files")
        return
    name = QuoteString(unit)
    yield StringCommand("systemctl reload --", name, "|| systemctl restart --", name)


@operation()
def streams(helper: str, path: str, after: Sequence[OperationMeta] = ()) -> Generator[PyinfraCommand, None, None]:
    """
    Make the streams and consumers that a file declares and change those that differ; others are left alone.

    + helper: path of ``nats-admin``
    + path: the file, as ``plan.describe_streams`` makes it
    + after: results of the operations before it that change what it will find
    """
    differences = host.get_fact(StreamDifferences, helper=helper, path=path)
    if not differences and not _will_change(after):
        host.noop("the streams are as declared")
        return
    if state.config.DIFF:
        for line in differences:
            host.log(f"Stream {line}", logger.info)
    yield StringCommand(QuoteString(helper), "apply", QuoteString(path))
